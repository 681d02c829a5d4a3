"""What a user sees on a terminal, and what is written to a log file instead."""

import os
import pty
import subprocess
import sys

from tests.integration.command_line import newest_from_command_line
from tests.integration.ledger import output_of
from tests.integration.service import ROOT, Service

ESCAPE = "\x1b["
BAR = "━"


def on_terminal(running: Service, *arguments: str) -> str:
    """Everything that ``manage.py`` prints on a terminal."""
    ours, theirs = pty.openpty()
    environment = {**running.environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        (sys.executable, "manage.py", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ):
        os.close(theirs)
        shown = read_all(ours)
    return shown.decode()


def read_all(terminal: int) -> bytes:
    """Read until the last process closes the terminal."""
    read = b""
    while True:
        try:
            read += os.read(terminal, 65536)
        except OSError:  # on Linux: all other processes have closed it
            os.close(terminal)
            return read


def test_on_a_terminal_a_progress_bar_is_displayed_but_not_recorded(running: Service) -> None:
    shown = on_terminal(running, "lasting", "--seconds", "1", "--tenant", "terminal")
    assert BAR in shown
    assert "/10" in shown
    assert output_of(running, newest_from_command_line(running, "lasting")) == "working on attempt 1\n"


def test_a_log_file_contains_no_progress_bar(running: Service) -> None:
    done = running.manage("lasting", "--seconds", "1", "--tenant", "log")
    assert (done.stdout, done.stderr) == ("working on attempt 1\n", "")


def test_on_a_terminal_stderr_is_coloured_unless_disabled(running: Service) -> None:
    assert ESCAPE in on_terminal(running, "probe", "--warn", "careful")
    assert on_terminal(running, "probe", "--warn", "careful", "--no-color") == "careful\r\n"
    assert output_of(running, newest_from_command_line(running, "probe")) == "careful\n"


def test_a_log_file_contains_no_colours(running: Service) -> None:
    assert running.manage("probe", "--warn", "careful").stderr == "careful\n"
