"""A reader's terminal: a shell into which a page's commands are typed, one after the other."""

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.manual import Block, Step

END = "--- end of the command"
ROWS_AND_COLUMNS = (50, 160)
COMMAND_SECONDS = 120.0
# Commands that only display something may be repeated, because it may take a while to happen, or, with what a
# container has written, to reach the engine's log.
REPEATABLE = re.compile(r"(\S*|python )manage\.py jobledger (runs|show)\b|docker compose (logs|ps)\b")
TIMEOUT_SECONDS = 45.0
PAUSE_SECONDS = 2.0

_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_BLANKS = re.compile(r"[ \t]+")


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command's output and exit code."""

    output: str
    exit_code: int


class Terminal:
    """``bash`` on a pseudo-terminal."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Start the shell."""
        self._screen, end = pty.openpty()
        termios.tcsetwinsize(end, ROWS_AND_COLUMNS)
        self._keyboard = os.ttyname(end)
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env={**environment, "TERM": "xterm", "NO_COLOR": "1", "DJANGO_COLORS": "nocolor"},
            stdin=subprocess.PIPE,
            stdout=end,
            stderr=end,
            text=True,
            start_new_session=True,
        )
        os.close(end)

    def run(self, command: str) -> Done:
        """Type a command and wait for it to finish."""
        assert self._shell.stdin
        line = f"eval {shlex.quote(command)} <{self._keyboard}; printf '\\n%s %s\\n' '{END}' $?\n"
        self._shell.stdin.write(line)
        self._shell.stdin.flush()
        output, _, exit_code = self._read(command).rpartition(END)
        return Done(output=output.removesuffix("\n"), exit_code=int(exit_code))

    def close(self) -> None:
        """End the shell and its background processes."""
        assert self._shell.stdin
        try:
            self._shell.stdin.close()
            self._shell.wait(10)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
            os.close(self._screen)

    def _read(self, command: str) -> str:
        deadline = time.monotonic() + COMMAND_SECONDS
        text = b""
        while not re.search(rf"{END} \d+\r?\n", text.decode(errors="replace")):
            ready, _, _ = select.select([self._screen], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"{command!r} has not ended; so far: {text.decode(errors='replace')}")
            text += os.read(self._screen, 65536)
        return _STYLE.sub("", text.decode(errors="replace")).replace("\r\n", "\n").rstrip("\n")


@contextmanager
def terminal(folder: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """A terminal that is closed after the block."""
    opened = Terminal(folder, environment)
    try:
        yield opened
    finally:
        opened.close()


def type_in(terminal: Terminal, block: Block) -> None:
    """Type its commands. Each must print what the page shows, and exit with 0 unless ``echo $?`` follows."""
    exit_code, command = 0, ""
    for step in block.steps:
        if step.command == "echo $?":
            assert step.output == (str(exit_code),), f"{block}: {command} exited with {exit_code}"
            exit_code = 0
            continue
        assert exit_code == 0, f"{block}: {command} exited with {exit_code}, and no `echo $?` follows"
        done = _outcome_of(terminal, step)
        assert _is_right(step, done), _difference(block, step, done)
        exit_code, command = done.exit_code, step.command
    assert exit_code == 0, f"{block}: {command} exited with {exit_code}: {done.output}"


def is_as_shown(shown: Sequence[str], output: str) -> bool:
    """Whether the output matches the page, where ``…`` matches anything within a line and, as a
    whole line, any number of lines. Empty lines and the number of spaces do not matter.
    """
    pattern = "".join(r"(?:.*\n)*" if line.strip() == "…" else rf"{_line_pattern(line)}\n" for line in shown)
    printed = "".join(f"{_plain(line)}\n" for line in output.splitlines() if line.strip())
    return re.fullmatch(pattern, printed) is not None


def _outcome_of(terminal: Terminal, step: Step) -> Done:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    done = terminal.run(step.command)
    while REPEATABLE.match(step.command) and not _is_right(step, done) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
        done = terminal.run(step.command)
    return done


def _is_right(step: Step, done: Done) -> bool:
    return not step.output or is_as_shown(step.output, done.output)


def _difference(block: Block, step: Step, done: Done) -> str:
    shown = "\n".join(step.output)
    got = f"--- got, with exit code {done.exit_code}\n{done.output}"
    return f"{block}: {step.command}\n--- expected\n{shown}\n{got}"


def _line_pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in _plain(line).split("…"))


def _plain(line: str) -> str:
    return _BLANKS.sub(" ", line).strip()
