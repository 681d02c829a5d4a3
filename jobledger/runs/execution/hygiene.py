"""Hygiene: nothing that a job leaves behind in its process may affect the next job.

What can be restored is restored. A worker's child in which something else remains (a thread that goes on, a
limit that cannot be raised again) is replaced after the run.
"""

import asyncio
import builtins
import decimal
import fcntl
import gc
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation

from jobledger.escapes import line_logger
from jobledger.runs.execution import asyncio_internals
from jobledger.runs.outcome import outcome_of
from jobledger.runs.worker import billiard_internals

logger = line_logger(__name__)

REAL_TIME_SIGNALS = 32
"""From here on. Few programs use them, and it takes time to look at each."""
FIRST_COPY = 100
"""Copies of descriptors have no small numbers, which a job may take for its own."""


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A property of the process that a job may change."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    """May raise OSError or ValueError if the process is not allowed to."""


@contextmanager
def restored_process() -> Iterator[None]:
    """Restore most of the process afterwards; have the pool replace a child that cannot be restored.

    ``Traits`` are restored earlier, because some of them would keep the end of the run from being recorded.
    """
    pipe = billiard_internals.results_pipe()
    lost: list[str] = []
    with _directory(), _standard_descriptors(lost), warnings.catch_warnings(), decimal.localcontext():
        try:
            yield
        finally:
            # A job may seed the generator so that its own numbers are reproducible.
            random.seed()
            timezone.deactivate()
            translation.deactivate()
    _replace_without(lost)
    if billiard_internals.results_pipe() != pipe:
        # Its number may belong to another file by now, such as a connection to the database.
        logger.error("A job has closed descriptors that are not its own: its process ends")
        os._exit(1)


class Traits:
    """The traits of the process before a job."""

    def __init__(self, *, taken_over: bool = False) -> None:
        """A job that was ``taken_over`` from a command line or another job keeps what does not harm us."""
        traits = (RUNNING_LOOP,) if taken_over else TRAITS
        self._before = [(trait, trait.read()) for trait in traits]

    def restore(self) -> None:
        """Restore them; have the pool replace a child that cannot be restored."""
        _replace_without([trait.name for trait, value in self._before if not _is_restored(trait, value)])


def _replace_without(lost: list[str]) -> None:
    if lost:
        logger.warning("A job has changed its process for good (%s): it is replaced", ", ".join(lost))
        billiard_internals.exit_after_this_task()


def connections_in_transaction() -> frozenset[str]:
    """The aliases of this thread's connections that are in a transaction."""
    return frozenset(each.alias for each in connections.all(initialized_only=True) if each.in_atomic_block)


def release_connections(*, of_caller: frozenset[str], close: bool) -> None:
    """Roll back transactions that a job left open, as happens when a process of its own exits.

    Those of its caller continue. If ``close`` is set, so does a process's exit: with a connection, everything
    ends that the job may have left on it, such as settings, temporary tables and advisory locks.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias in of_caller:
            continue
        if connection.connection is not None and (connection.in_atomic_block or not connection.autocommit):
            _roll_back(connection)
        if close:
            with suppress(Error):
                connection.close()
        else:
            connection.close_if_unusable_or_obsolete()


@contextmanager
def exit_forked_children() -> Iterator[None]:
    """Exit after the block if this is a child forked by the job: it must not become a second worker.

    A child of a job started from the command line exits at that point as well.
    """
    pid = os.getpid()
    exit_code = 0
    try:
        yield
    except BaseException as error:
        exit_code = outcome_of(error).exit_code or 0
        raise
    finally:
        if os.getpid() != pid:
            # Not sys.exit: everything further up the stack belongs to the worker.
            os._exit(exit_code)


def _roll_back(connection: BaseDatabaseWrapper) -> None:
    connection.in_atomic_block = False
    connection.atomic_blocks = []
    connection.savepoint_ids = []
    connection.needs_rollback = False
    connection.run_on_commit = []
    try:
        connection.rollback()
        connection.set_autocommit(True)
    except Error:
        connection.close()


@contextmanager
def _directory() -> Iterator[None]:
    # A file descriptor, not a path: the directory may be deleted before or by the job.
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        with suppress(OSError):
            os.fchdir(directory)
            os.close(directory)


@contextmanager
def _standard_descriptors(lost: list[str]) -> Iterator[None]:
    """Open what the job has closed or replaced, or add it to ``lost``."""
    copies = {number: copy for number in range(3) if (copy := _copy_of(number)) is not None}
    try:
        yield
    finally:
        for number, copy in copies.items():
            try:
                if not _is_same(number, copy):
                    os.dup2(copy, number)
                os.close(copy)
            except OSError:
                lost.append(f"descriptor {number}")


def _copy_of(number: int) -> int | None:
    with suppress(OSError):
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_COPY)
    return None


def _is_same(number: int, copy: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(number), os.fstat(copy))
    return False


def _is_restored(trait: Trait, value: Any) -> bool:
    try:
        if trait.read() != value:
            trait.restore(value)
    except (OSError, ValueError):
        return False
    return True


def _restore_running_loop(before: asyncio.AbstractEventLoop | None) -> NoReturn:
    """The code that has left it running, such as a greenlet, may go on at any time."""
    asyncio_internals.set_running_loop(before)
    raise PermissionError


def _restore_environment(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)
    time.tzset()


def _signal_handlers() -> dict[int, Any]:
    """None is a handler that Python does not know, and cannot restore."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in found.items() if handler is not None}


def _restore_signal_handlers(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _refuse(before: object) -> NoReturn:
    raise PermissionError


def _user() -> tuple[int, int, int, int]:
    return os.getuid(), os.geteuid(), os.getgid(), os.getegid()


def _restore_user(before: tuple[int, int, int, int]) -> None:
    _, user, _, group = before
    os.seteuid(user)
    os.setegid(group)
    if _user() != before:
        raise PermissionError


def _umask() -> int:
    # It can only be read by setting it.
    os.umask(mask := os.umask(0o077))
    return mask


def _timers() -> list[bool]:
    return [signal.getitimer(each)[0] > 0 for each in TIMERS]


def _stop_timers(before: list[bool]) -> None:
    for each in TIMERS:
        signal.setitimer(each, 0)


def _limits() -> dict[int, tuple[int, int]]:
    return {each: resource.getrlimit(each) for each in LIMITS}


def _restore_limits(before: dict[int, tuple[int, int]]) -> None:
    for each, limits in before.items():
        resource.setrlimit(each, limits)


def _logging() -> tuple[list[logging.Handler], int, int]:
    root = logging.getLogger()
    return list(root.handlers), root.level, logging.root.manager.disable


def _restore_logging(before: tuple[list[logging.Handler], int, int]) -> None:
    root = logging.getLogger()
    root.handlers[:], level, disabled = before
    root.setLevel(level)
    logging.disable(disabled)


def _attribute(owner: Any, name: str) -> Trait:
    return Trait(
        name=f"{owner.__name__}.{name}",
        read=partial(getattr, owner, name),
        restore=partial(setattr, owner, name),
    )


def _list(owner: Any, name: str) -> Trait:
    """A list whose contents are restored, since others hold the list itself."""
    the_list: list[Any] = getattr(owner, name)

    def restore(before: list[Any]) -> None:
        the_list[:] = before
        setattr(owner, name, the_list)

    return Trait(name=f"{owner.__name__}.{name}", read=lambda: list(getattr(owner, name)), restore=restore)


RUNNING_LOOP = Trait(
    name="running event loop", read=asyncio_internals.running_loop, restore=_restore_running_loop
)
"""Django refuses to use the database in a thread in which one is running."""
SIGNALS = sorted(int(number) for number in signal.valid_signals() if number < REAL_TIME_SIGNALS)
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
TRAITS = (
    RUNNING_LOOP,
    # Before the handlers of their signals.
    Trait(name="timers", read=_timers, restore=_stop_timers),
    Trait(name="signal handlers", read=_signal_handlers, restore=_restore_signal_handlers),
    Trait(
        name="blocked signals",
        read=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        restore=partial(signal.pthread_sigmask, signal.SIG_SETMASK),
    ),
    # A session cannot be left again.
    Trait(name="session", read=partial(os.getsid, 0), restore=_refuse),
    # It is gone once it is empty.
    Trait(name="process group", read=os.getpgrp, restore=partial(os.setpgid, 0)),
    Trait(name="user", read=_user, restore=_restore_user),
    Trait(name="umask", read=_umask, restore=os.umask),
    Trait(name="environment", read=lambda: dict(os.environ), restore=_restore_environment),
    Trait(
        name="locale",
        read=partial(locale.setlocale, locale.LC_ALL),
        restore=partial(locale.setlocale, locale.LC_ALL),
    ),
    Trait(name="limits", read=_limits, restore=_restore_limits),
    Trait(
        name="priority",
        read=partial(os.getpriority, os.PRIO_PROCESS, 0),
        restore=partial(os.setpriority, os.PRIO_PROCESS, 0),
    ),
    Trait(name="logging", read=_logging, restore=_restore_logging),
    Trait(name="recursion limit", read=sys.getrecursionlimit, restore=sys.setrecursionlimit),
    Trait(name="socket timeout", read=socket.getdefaulttimeout, restore=socket.setdefaulttimeout),
    Trait(
        name="garbage collection",
        read=gc.isenabled,
        restore=lambda before: gc.enable() if before else gc.disable(),
    ),
    *(_attribute(sys, name) for name in ("stdin", "stdout", "stderr", "excepthook", "unraisablehook")),
    _attribute(threading, "excepthook"),
    # Only what was replaced: libraries add names, such as gettext's `_`.
    Trait(name="builtins", read=lambda: dict(vars(builtins)), restore=vars(builtins).update),
    *(_list(sys, name) for name in ("path", "argv")),
)
