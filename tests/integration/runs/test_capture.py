"""All that jobs write is on their runs, and the worker's log does not fill with it."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from tests.integration.command_line import newest_from_command_line
from tests.integration.ledger import call, output_of, run_rows, wait_for_end
from tests.integration.runs.test_terminal import read_all
from tests.integration.service import ROOT, Service
from tests.probes.written import LINES

GIGABYTE = 1000
DATE = r"\b[-0-9]{10} [0-9:,]{12}\b"


def lines_of(running: Service, pk: UUID) -> list[str]:
    """The lines of the run's output, without dates, folders and numbers of lines."""
    text = re.sub(rf"{DATE} |/\S*/|(?<=py):\d+", "", output_of(running, pk))
    return text.splitlines()


def test_all_that_a_job_writes_is_on_its_run_and_not_in_the_workers_log(running: Service) -> None:
    before = len(running.log("worker"))
    pk = call(running, "writing", child=True)
    assert wait_for_end(running, pk).status == "succeeded"
    assert lines_of(running, pk) == LINES
    (child,) = run_rows(running, "job = 'probe' AND trigger = 'job'")
    assert output_of(running, child.pk) == "of the child\n"
    log = running.log("worker")[before:].splitlines()
    assert [line.partition(f"probes.writing[{pk}] ")[2].split()[0] for line in log] == [
        "received",
        "succeeded",
    ]


def test_a_gigabyte_from_a_subprocess_neither_blocks_nor_fills_anything(running: Service) -> None:
    pk = call(running, "writing", megabytes=GIGABYTE)
    assert wait_for_end(running, pk).status == "succeeded"
    assert "bytes omitted" in output_of(running, pk)


def test_the_last_bytes_of_a_killed_job_are_on_its_run(running: Service) -> None:
    pk = call(running, "writing", kill=True)
    assert wait_for_end(running, pk).status == "lost"
    assert lines_of(running, pk) == [*LINES, "last words", "last words of C"]


def in_a_file(running: Service, file: Path, *arguments: str) -> bytes:
    """What ``manage.py … > file 2>&1`` leaves in the file."""
    with file.open("wb") as target:
        subprocess.run(
            (sys.executable, "manage.py", *arguments),
            cwd=ROOT,
            env=running.environment,
            stdout=target,
            stderr=target,
            check=True,
        )
    return file.read_bytes()


def on_a_terminal(running: Service, file: Path, *arguments: str) -> bytes:
    ours, theirs = pty.openpty()
    command = (sys.executable, "manage.py", *arguments)
    with subprocess.Popen(
        command, cwd=ROOT, env=running.environment, stdin=theirs, stdout=theirs, stderr=theirs
    ):
        os.close(theirs)
        return read_all(ours)


@pytest.mark.parametrize("target", [in_a_file, on_a_terminal])
def test_from_the_command_line_a_job_writes_the_same_bytes_as_without_the_service(
    running: Service, target: Callable[..., bytes], tmp_path: Path
) -> None:
    recorded, plain = (
        re.sub(DATE.encode(), b"", target(running, tmp_path / "file", *arguments))
        for arguments in (("writing",), ("unexposed_probe", "--write"))
    )
    assert recorded == plain
    assert b"subprocess" in plain
    of_python = [line for line in LINES if line not in ("subprocess", "descriptor", "C library")]
    assert lines_of(running, newest_from_command_line(running, "writing")) == [
        line.removeprefix("WARNING py.warnings: ") for line in of_python if line
    ]
