"""The traits of a process that a job may change, and that are as before in the next run.

A worker's child in which one of them cannot be restored is replaced after the run.
"""

import asyncio
import builtins
import faulthandler
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from jobledger.escapes import line_logger
from jobledger.runs import django_internals
from jobledger.runs.execution import asyncio_internals
from jobledger.runs.output import loggers
from jobledger.runs.output.loggers import Configurations
from jobledger.runs.processes import (
    billiard_internals,
    multiprocessing_internals,
    os_internals,
    shared_process,
)

logger = line_logger(__name__)

REAL_TIME_SIGNALS = 32
"""From here on. Few programs use them, and it takes time to look at each."""


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A property of the process that a job may change."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], object]
    """May raise OSError or ValueError if the process is not allowed to."""


class Traits:
    """The traits of the process before a job."""

    def __init__(self, *, taken_over: bool = False, loggers_too: bool = True) -> None:
        """A job that was ``taken_over`` from a command line or another job keeps what does not harm us.

        So does one that shares its process with others, who might rely on it. Unless ``loggers_too``, the
        capture of the job's output restores the loggers.
        """
        self._taken_over = taken_over
        keeps = taken_over or shared_process.is_shared()
        traits = (RUNNING_LOOP,) if keeps else (*TRAITS, LOGGERS) if loggers_too else TRAITS
        self._before = [(trait, trait.read()) for trait in traits]

    def restore(self) -> None:
        """Restore them; have the pool replace a child that cannot be restored."""
        if not (self._taken_over or shared_process.is_shared()):
            # With `exit=True`, it would end the next run. Nothing tells whether there is one.
            faulthandler.cancel_dump_traceback_later()
        replace_child_without([trait.name for trait, value in self._before if not _is_restored(trait, value)])


def replace_child_without(lost: list[str]) -> None:
    if lost:
        logger.warning("A job has changed its process for good (%s): it is replaced", ", ".join(lost))
        billiard_internals.exit_after_this_task()


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


def _restore_environment(before: dict[bytes, bytes]) -> None:
    os.environb.clear()
    os.environb.update(before)
    time.tzset()


def _signal_handlers() -> list[Any]:
    if threading.current_thread() is not threading.main_thread():
        return []
    return list(map(os_internals.handler_of, SIGNALS))


def _restore_signal_handlers(before: list[Any]) -> None:
    """None is a handler that Python does not know, and cannot restore."""
    for number, handler in zip(SIGNALS, before, strict=False):
        if handler is not None and os_internals.handler_of(number) is not handler:
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


def _limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, LIMITS))


def _restore_limits(before: list[tuple[int, int]]) -> None:
    # Each of them, even if another one cannot be raised again.
    with ExitStack() as steps:
        for each, limits in zip(LIMITS, before, strict=True):
            steps.callback(resource.setrlimit, each, limits)


def _attribute(owner: Any, name: str) -> Trait:
    return Trait(
        name=f"{owner.__name__}.{name}",
        read=partial(getattr, owner, name),
        restore=partial(setattr, owner, name),
    )


def _stream(name: str) -> Trait:
    def restore(before: Any) -> None:
        # A text stream that the job has put in its place writes what it has buffered at the latest now.
        with suppress(Exception):
            getattr(sys, name).flush()
        setattr(sys, name, before)

    return Trait(name=f"sys.{name}", read=partial(getattr, sys, name), restore=restore)


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
LOGGERS = Trait(name="loggers", read=loggers.configurations, restore=Configurations.restore)
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
        read=partial(os_internals.set_mask, signal.SIG_BLOCK, ()),
        restore=partial(os_internals.set_mask, signal.SIG_SETMASK),
    ),
    # A session cannot be left again.
    Trait(name="session", read=partial(os.getsid, 0), restore=_refuse),
    # It is gone once it is empty.
    Trait(name="process group", read=os.getpgrp, restore=partial(os.setpgid, 0)),
    Trait(name="user", read=_user, restore=_restore_user),
    Trait(name="umask", read=_umask, restore=os.umask),
    Trait(name="environment", read=os_internals.environment, restore=_restore_environment),
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
    Trait(name="disabled logging", read=lambda: logging.root.manager.disable, restore=logging.disable),
    Trait(name="class of loggers", read=logging.getLoggerClass, restore=logging.setLoggerClass),
    Trait(name="log records", read=logging.getLogRecordFactory, restore=logging.setLogRecordFactory),
    Trait(
        name="settings",
        read=django_internals.settings_values,
        restore=django_internals.restore_settings_values,
    ),
    Trait(
        name="start method of processes",
        read=multiprocessing_internals.start_method,
        restore=multiprocessing_internals.set_start_method,
    ),
    Trait(
        name="event loop policy",
        read=asyncio_internals.event_loop_policy,
        restore=asyncio_internals.restore_event_loop_policy,
    ),
    Trait(
        name="faulthandler",
        read=faulthandler.is_enabled,
        restore=lambda before: faulthandler.enable(file=2) if before else faulthandler.disable(),
    ),
    *(
        Trait(
            name=f"{owner.__name__}.{kind}",
            read=getattr(owner, f"get{kind}"),
            restore=getattr(owner, f"set{kind}"),
        )
        for owner in (threading, sys)
        for kind in ("trace", "profile")
    ),
    Trait(name="switch interval", read=sys.getswitchinterval, restore=sys.setswitchinterval),
    Trait(name="recursion limit", read=sys.getrecursionlimit, restore=sys.setrecursionlimit),
    Trait(name="socket timeout", read=socket.getdefaulttimeout, restore=socket.setdefaulttimeout),
    Trait(
        name="garbage collection",
        read=gc.isenabled,
        restore=lambda before: gc.enable() if before else gc.disable(),
    ),
    Trait(
        name="garbage collection's thresholds",
        read=gc.get_threshold,
        restore=lambda before: gc.set_threshold(*before),
    ),
    *map(_stream, ("stdin", "stdout", "stderr")),
    *(_attribute(sys, name) for name in ("excepthook", "unraisablehook", "displayhook", "breakpointhook")),
    _attribute(threading, "excepthook"),
    # With another TMPDIR, or a directory of the job's own, it is where that was.
    _attribute(tempfile, "tempdir"),
    # Only what was replaced: libraries add names, such as gettext's `_`.
    Trait(name="builtins", read=vars(builtins).copy, restore=vars(builtins).update),
    *(_list(sys, name) for name in ("path", "argv")),
)
