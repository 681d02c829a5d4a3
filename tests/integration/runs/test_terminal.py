"""What somebody sees on a terminal, and what a log gets that the output is redirected to."""

import os
import pty
import subprocess
import sys

from tests.integration.command_line import newest_by_hand
from tests.integration.ledger import output_of
from tests.integration.service import ROOT, Service

ESCAPE = "\x1b["
BAR = "━"


def on_terminal(running: Service, *arguments: str) -> str:
    """What ``manage.py`` shows on a terminal until it ends."""
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
    """All that is written until the last one who has the terminal open closes it."""
    read = b""
    while True:
        try:
            read += os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody is there any more
            os.close(terminal)
            return read


def test_on_a_terminal_a_bar_shows_how_far_a_job_is_and_is_no_output_of_the_run(running: Service) -> None:
    shown = on_terminal(running, "lasting", "--seconds", "1", "--tenant", "terminal")
    assert BAR in shown
    assert "/10" in shown
    assert output_of(running, newest_by_hand(running, "lasting")) == "working on attempt 1\n"


def test_in_a_log_there_is_no_bar(running: Service) -> None:
    done = running.manage("lasting", "--seconds", "1", "--tenant", "log")
    assert (done.stdout, done.stderr) == ("working on attempt 1\n", "")


def test_on_a_terminal_stderr_is_coloured_unless_somebody_wants_no_colour(running: Service) -> None:
    assert ESCAPE in on_terminal(running, "probe", "--warn", "careful")
    assert on_terminal(running, "probe", "--warn", "careful", "--no-color") == "careful\r\n"
    assert output_of(running, newest_by_hand(running, "probe")) == "careful\n"


def test_in_a_log_there_are_no_colours(running: Service) -> None:
    assert running.manage("probe", "--warn", "careful").stderr == "careful\n"
