"""A job in a worker has no terminal: whoever waits for its answer would wait forever.

``input`` and ``getpass`` fail at once. Everything else reads an empty input, as a job of cron does: the job's
subprocesses, and a command that reads all of its input when it is not a terminal.
"""

import fcntl
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, Never

from celery.signals import worker_process_init

STDIN = 0


class NoTerminalError(EOFError):
    """A job asks for input."""

    def __init__(self) -> None:
        super().__init__("a job has no terminal, so nobody can answer input() or getpass()")


class _EmptyInput(TextIOWrapper):
    """Empty for whoever reads all of it, or line by line; ``input`` and ``getpass`` read a single line."""

    def readline(self, size: int = -1, /) -> Never:  # type: ignore[override]
        raise NoTerminalError

    def __next__(self) -> Never:
        raise StopIteration


@contextmanager
def no_terminal() -> Iterator[None]:
    """In the block, the standard input of this process and of its children is empty."""
    before, saved = sys.stdin, _duplicate(STDIN)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, STDIN)
    if empty != STDIN:
        os.close(empty)
    # Not closed with the file object: the job may close it.
    sys.stdin = _EmptyInput(open(STDIN, "rb", closefd=False))  # noqa: SIM115 - a descriptor
    try:
        yield
    finally:
        sys.stdin = before
        _restore(saved)


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:  # it is closed
        return None


def _restore(saved: int | None) -> None:
    if saved is not None:
        os.dup2(saved, STDIN)
        os.close(saved)
        return
    with suppress(OSError):
        os.close(STDIN)


def connect() -> None:
    """From now on, a worker's children are detached from its terminal, which ``getpass`` opens by name."""
    worker_process_init.connect(_detach, dispatch_uid="jobledger.terminal")


def _detach(**kwargs: Any) -> None:
    # If the leader of a session detaches, the whole session loses its terminal.
    if os.getsid(0) == os.getpid():
        return
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:  # there is none
        return
    try:
        fcntl.ioctl(terminal, termios.TIOCNOTTY)
    finally:
        os.close(terminal)
