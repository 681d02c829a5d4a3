"""All that jobs write is on their runs, and the worker's log does not fill with it."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

from tests.integration.command_line import newest_from_command_line
from tests.integration.ledger import call, output_of, run_rows, wait_for_end
from tests.integration.runs.test_terminal import read_all
from tests.integration.service import ROOT, Service
from tests.probes.written import LINES
from tests.waiting import wait_until

GIGABYTE = 1000
DATE = "[-0-9]{10} [0-9:,]{12}"


def lines_of(running: Service, pk: UUID) -> list[str]:
    """The lines of the run's output, without colours, dates, folders and numbers of lines."""
    text = re.sub(rf"\x1b\[[0-9;]*m|{DATE} |/\S*/|(?<=py):\d+", "", output_of(running, pk))
    return text.splitlines()


def test_all_that_a_job_writes_is_on_its_run_and_not_in_the_workers_log(running: Service) -> None:
    before = len(running.log("worker"))
    pk = call(running, "writing", child=True)
    assert wait_for_end(running, pk).status == "succeeded"
    assert lines_of(running, pk) == LINES
    (child,) = [row for row in run_rows(running, "trigger = 'job'") if row.parent_id == pk]
    assert output_of(running, child.pk) == "of the child\n"
    wait_until(
        lambda: f"Run {pk} of writing ended" in running.log("worker")[before:], what="the worker logs the end"
    )
    # What the worker says about the end of an earlier run may come only now.
    others = {str(row.pk) for row in run_rows(running)} - {str(pk), str(child.pk)}
    lines = running.log("worker")[before:].splitlines()
    started, *of_child, ended = [line for line in lines if not any(other in line for other in others)]
    assert f"Run {pk} of writing started [job=writing run_id={pk} attempt=1" in started
    assert f"Run {pk} of writing ended as succeeded" in ended
    assert [f"run_id={child.pk}" in line for line in of_child] == [True, True]


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


def test_from_the_command_line_a_job_writes_the_same_bytes_as_without_the_service(
    running: Service, tmp_path: Path
) -> None:
    def written(target: Callable[..., bytes], *arguments: str) -> bytes:
        shown = target(running, tmp_path / f"{target.__name__} {arguments[0]}", *arguments)
        return re.sub(DATE.encode(), b"", shown)

    with ThreadPoolExecutor() as side_by_side:
        (in_file, in_file_recorded), (on_terminal, on_terminal_recorded) = (
            [
                side_by_side.submit(written, target, *arguments)
                for arguments in (("unexposed_probe", "--write"), ("writing",))
            ]
            for target in (in_a_file, on_a_terminal)
        )
    assert b"subprocess" in in_file.result()
    assert in_file_recorded.result() == in_file.result()
    assert on_terminal_recorded.result() == on_terminal.result()
    of_python = [line for line in LINES if line not in ("subprocess", "descriptor", "C library")]
    assert lines_of(running, newest_from_command_line(running, "writing")) == [
        line.removeprefix("WARNING py.warnings: ") for line in of_python if line
    ]
