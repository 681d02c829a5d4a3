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
from tests.adopter import Adopter
from tests.manual import ADOPTING, Block, blocks_of
from tests.terminal import Terminal, terminal, type_in
from tests.waiting import wait_until

FOREGROUND = ("celery -A mysite worker", "celery -A mysite beat")


@pytest.fixture
def project() -> Iterator[Adopter]:
    """A project without the service."""
    # Not pytest's tmp_path: a Unix socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    yield Adopter.start(folder)
    shutil.rmtree(folder)


@pytest.fixture
def redis(project: Adopter) -> Iterator[str]:
    """The URL of a server."""
    socket = project.folder / "redis.sock"
    server = subprocess.Popen(redis_command(socket, project.folder / "redis"))
    try:
        wait_until(socket.exists, what="the Redis server's socket")
        yield f"redis+socket://{socket}"
    finally:
        server.terminate()
        server.wait()


def start_in_background(shell: Terminal, block: Block) -> None:
    for number, step in enumerate(block.steps):
        shell.run(f"{step.command} >{number}.log 2>&1 &")


def test_a_project_adopts_the_service(project: Adopter, redis: str) -> None:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "lib",
        "CELERY_BROKER_URL": redis,
        "CELERY_RESULT_BACKEND": redis,
    }
    with terminal(project.folder, environment) as shell:
        for block in blocks_of(ADOPTING):
            if block.is_a_file:
                project.write(block)
            elif block.is_typed and block.steps[0].command.startswith(FOREGROUND):
                start_in_background(shell, block)
            elif block.is_typed:
                type_in(shell, block)
        shell.run("kill $(jobs -p); wait")
    assert [path.name for path in project.folder.glob("*.log") if "Traceback" in path.read_text()] == []
