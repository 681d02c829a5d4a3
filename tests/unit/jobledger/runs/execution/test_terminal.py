"""A job in a worker has no terminal."""

import builtins
import getpass
import io
import os
import pty
import subprocess
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import cast

import pytest

from jobledger.runs.execution.terminal import STDIN, NoTerminalError, no_terminal

# The child of a session's leader, which has a terminal, as a worker's child has that of its worker.
DETACHED = """
import os
from jobledger.runs.execution.terminal import _detach
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
os.close(os.open("/dev/tty", os.O_RDWR))
_detach()
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError:
    os._exit(7)
"""


def test_asking_for_a_line_fails_at_once() -> None:
    with no_terminal(), pytest.raises(NoTerminalError, match="a job has no terminal"):
        input()


def test_asking_for_a_password_fails_at_once() -> None:
    with no_terminal(), pytest.raises(NoTerminalError):
        getpass.fallback_getpass()  # type: ignore[attr-defined]


def test_lines_are_read_as_from_an_empty_file() -> None:
    with no_terminal():
        assert (sys.stdin.readline(), sys.stdin.readlines()) == ("", [])


def test_a_job_can_give_itself_an_input() -> None:
    with no_terminal():
        sys.stdin = io.StringIO("yes\n")
        assert input() == "yes"


def test_whoever_asks_after_the_job_is_answered() -> None:
    before = builtins.input, getpass.fallback_getpass  # type: ignore[attr-defined]
    with no_terminal():
        assert builtins.input is not before[0]
    assert (builtins.input, getpass.fallback_getpass) == before  # type: ignore[attr-defined]


def test_everything_that_is_read_is_empty() -> None:
    with no_terminal():
        assert (sys.stdin.read(), list(sys.stdin), sys.stdin.fileno(), sys.stdin.isatty()) == (
            "",
            [],
            0,
            False,
        )
        assert subprocess.check_output(["cat"]) == b""


def test_a_job_that_closes_its_standard_input_does_no_harm() -> None:
    before, inode = sys.stdin, os.fstat(STDIN).st_ino
    with no_terminal():
        sys.stdin.close()
        os.close(STDIN)
    assert sys.stdin is before
    assert os.fstat(STDIN).st_ino == inode


def test_no_descriptor_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with no_terminal():
        pass
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_the_real_input_is_not_read(tmp_path: Path) -> None:
    code = (
        "from jobledger.runs.execution.terminal import *\nwith no_terminal(): print(repr(sys.stdin.read()))"
    )
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(sys.stdin.read())"],
        input="secret",
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "''\nsecret\n"


def test_a_workers_child_leaves_the_terminal_that_getpass_would_open() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{DETACHED}"],
        stdin=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert process.wait() == 7
    os.close(ours)


def test_the_stream_is_a_text_stream() -> None:
    with no_terminal():
        assert isinstance(cast("TextIOWrapper", sys.stdin), TextIOWrapper)
