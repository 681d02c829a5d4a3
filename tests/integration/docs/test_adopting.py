"""Another project adopts the service as the manual says, with Redis, a worker and beat."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from proj.embedded_redis import command as redis_command
from tests.manual import ADOPTING, ROOT, Block, blocks_of
from tests.terminal import Terminal, terminal, type_in
from tests.waiting import wait_until

FOREGROUND = ("celery -A mysite worker", "celery -A mysite beat")


@pytest.fixture
def project() -> Iterator[Path]:
    """The result of ``startproject``; from this repository, it can only import the service."""
    # Not pytest's tmp_path: a Unix socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    subprocess.run(
        [sys.executable, "-m", "django", "startproject", "mysite", str(folder)], check=True, cwd=folder
    )
    (folder / "lib").mkdir()
    (folder / "lib" / "jobledger").symlink_to(ROOT / "jobledger")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def redis(project: Path) -> Iterator[str]:
    """The URL of a server."""
    socket = project / "redis.sock"
    server = subprocess.Popen(redis_command(socket, project / "redis"))
    try:
        wait_until(socket.exists, what="the Redis server's socket")
        yield f"redis+socket://{socket}"
    finally:
        server.terminate()
        server.wait()


def start_in_background(shell: Terminal, block: Block) -> None:
    for number, step in enumerate(block.steps):
        shell.run(f"{step.command} >{number}.log 2>&1 &")


def test_a_project_adopts_the_service(project: Path, redis: str) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "lib",
        "REDIS_URL": redis,
    }
    with terminal(project, environment) as shell:
        for block in blocks_of(ADOPTING):
            if block.is_a_file:
                with (project / block.file).open("a") as file:
                    file.write(block.text)
            elif block.is_typed and block.steps[0].command.startswith(FOREGROUND):
                start_in_background(shell, block)
            elif block.is_typed:
                type_in(shell, block)
        shell.run("kill $(jobs -p); wait")
    assert [path.name for path in project.glob("*.log") if "Traceback" in path.read_text()] == []
