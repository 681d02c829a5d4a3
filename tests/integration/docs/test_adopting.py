"""Another project adopts the service as the manual says, with Redis, a worker and beat."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.adopter import Adopter
from tests.manual import ADOPTING, Block, blocks_of
from tests.ports import free_port
from tests.terminal import terminal, type_in

IN_FOREGROUND = "honcho start"
REDIS_PORT = "6379"


@pytest.fixture
def project() -> Iterator[Adopter]:
    """A project without the service."""
    folder = Path(tempfile.mkdtemp(prefix="jobs-"))
    yield Adopter.start(folder)
    shutil.rmtree(folder)


def prepared(block: Block, port: str) -> Block:
    """The block with a port that is not in use, and with what stays in the foreground in the background."""
    lines = (line.replace(REDIS_PORT, port) for line in block.lines)
    return replace(
        block,
        lines=tuple(f"{line} >honcho.log 2>&1 &" if line.endswith(IN_FOREGROUND) else line for line in lines),
    )


def test_a_project_adopts_the_service(project: Adopter) -> None:
    port = str(free_port())
    temporary = project.folder / "tmp"
    temporary.mkdir()
    environment = {
        "TMPDIR": str(temporary),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": "lib",
    }
    with terminal(project.folder, environment) as shell:
        for block in (prepared(each, port) for each in blocks_of(ADOPTING)):
            if block.is_a_file:
                project.write(block)
            elif block.is_typed:
                type_in(shell, block)
        shell.run("kill $(jobs -p); wait")
    log = (project.folder / "honcho.log").read_text()
    assert "celery@" in log
    assert "Traceback" not in log
    assert not list(temporary.iterdir())
