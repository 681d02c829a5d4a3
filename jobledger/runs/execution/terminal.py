"""A job in a worker has no terminal: whoever waits for its answer would wait forever.

``input`` and ``getpass`` fail at once. Everything else reads an empty input, as a job of cron does: the job's
subprocesses, ``sys.stdin``, ``fileinput``, and a command that reads its input when it is not a terminal.

``getpass.getpass`` opens the terminal, and without one calls ``getpass.fallback_getpass``. That has no public
hook, and is replaced by name, so that a ``getpass`` that a job imported before fails as well.
"""

import builtins
import fcntl
import getpass
import os
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from io import TextIOWrapper
from typing import Any, TextIO

from celery.signals import worker_process_init

from jobledger.runs.processes import shared_process

STDIN = 0


_for_good = ExitStack()


class NoTerminalError(EOFError):
    """A job asks for input."""

    def __init__(self) -> None:
        super().__init__("a job has no terminal, so nobody can answer input() or getpass()")


@contextmanager
def no_terminal() -> Iterator[None]:
    """In the block, the standard input of this process and of its children is empty.

    Where many jobs share the process, it is empty already.
    """
    if shared_process.is_shared():
        yield
        return
    with _emptied():
        yield


def take_away() -> None:
    """From now on, this process has no terminal."""
    _for_good.enter_context(_emptied())


@contextmanager
def _emptied() -> Iterator[None]:
    before, saved = sys.stdin, _duplicate(STDIN)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, STDIN)
    if empty != STDIN:
        os.close(empty)
    # Not closed with the file object: the job may close it.
    sys.stdin = TextIOWrapper(open(STDIN, "rb", closefd=False))  # noqa: SIM115 - a descriptor
    try:
        with _nobody_answers(sys.stdin):
            yield
    finally:
        sys.stdin = before
        _restore(saved)


@contextmanager
def _nobody_answers(empty: TextIO) -> Iterator[None]:
    """In the block, ``input`` and ``getpass`` fail, unless the job has an input of its own."""
    replaced: list[tuple[Any, str]] = [(builtins, "input"), (getpass, "fallback_getpass")]
    before = [getattr(module, name) for module, name in replaced]
    for (module, name), asks in zip(replaced, before, strict=True):
        setattr(module, name, _failing(asks, empty))
    try:
        yield
    finally:
        for (module, name), asks in zip(replaced, before, strict=True):
            setattr(module, name, asks)


def _failing(asks: Callable[..., str], empty: TextIO) -> Callable[..., str]:
    @wraps(asks)
    def ask(*args: Any, **kwargs: Any) -> str:
        if sys.stdin is empty:
            raise NoTerminalError
        return asks(*args, **kwargs)

    return ask


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
