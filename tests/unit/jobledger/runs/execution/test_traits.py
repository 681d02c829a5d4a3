"""What a job changes in its process is as before in the next run."""

import asyncio
import builtins
import faulthandler
import gc
import io
import locale
import logging
import multiprocessing
import multiprocessing.context
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.config import dictConfig

import pytest
from django.conf import settings
from django.test import override_settings

from jobledger.runs.execution import asyncio_internals, traits
from jobledger.runs.execution.traits import Trait, Traits
from jobledger.runs.processes import billiard_internals

CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "timer": (
        lambda: signal.setitimer(signal.ITIMER_PROF, 600),
        lambda: signal.getitimer(signal.ITIMER_PROF),
    ),
    "handler": (
        lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        lambda: signal.getsignal(signal.SIGTERM),
    ),
    "blocked signal": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}),
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()),
    ),
    "umask": (lambda: os.umask(0o007), traits._umask),
    "new variable": (lambda: os.environ.update(A_JOBS="own"), lambda: os.environ.get("A_JOBS")),
    "no variable": (lambda: os.environ.pop("PATH"), lambda: os.environ.get("PATH")),
    "soft limit": (
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, resource.getrlimit(resource.RLIMIT_CORE)[1])),
        lambda: resource.getrlimit(resource.RLIMIT_CORE),
    ),
    "log level": (
        lambda: logging.basicConfig(level=1, force=True),
        lambda: (list(logging.root.handlers), logging.root.level),
    ),
    "no logging": (lambda: logging.disable(logging.CRITICAL), lambda: logging.root.manager.disable),
    "builtin": (lambda: setattr(builtins, "print", len), lambda: print),
    "no builtin": (lambda: delattr(builtins, "print"), lambda: vars(builtins).get("print")),
    "stdout": (lambda: setattr(sys, "stdout", io.StringIO()), lambda: sys.stdout),
    "path": (lambda: sys.path.insert(0, "/a/jobs/own"), lambda: list(sys.path)),
    "another path": (lambda: setattr(sys, "path", []), lambda: list(sys.path)),
    "recursion": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "socket timeout": (lambda: socket.setdefaulttimeout(5), socket.getdefaulttimeout),
    "garbage": (gc.disable, gc.isenabled),
    "garbage's thresholds": (lambda: gc.set_threshold(1, 2, 3), gc.get_threshold),
    "switches": (lambda: sys.setswitchinterval(0.5), sys.getswitchinterval),
    "trace": (lambda: sys.settrace(lambda *_: None), sys.gettrace),
    "profile": (lambda: sys.setprofile(lambda *_: None), sys.getprofile),
    "trace of threads": (lambda: threading.settrace(lambda *_: None), threading.gettrace),
    "profile of threads": (lambda: threading.setprofile(lambda *_: None), threading.getprofile),
    "faulthandler": (
        lambda: faulthandler.disable() if faulthandler.is_enabled() else faulthandler.enable(file=2),
        faulthandler.is_enabled,
    ),
    "setting": (lambda: setattr(settings, "DEBUG", "a job's own"), lambda: settings.DEBUG),
    "no setting": (lambda: delattr(settings, "DEBUG"), lambda: getattr(settings, "DEBUG", "none")),
    "overridden setting": (
        lambda: override_settings(DEBUG="a job's own").enable(),
        lambda: (settings.DEBUG, settings._wrapped),  # type: ignore[misc]
    ),
    "class of loggers": (
        lambda: logging.setLoggerClass(type("Own", (logging.Logger,), {})),
        logging.getLoggerClass,
    ),
    "log records": (
        lambda: logging.setLogRecordFactory(type("Own", (logging.LogRecord,), {})),
        logging.getLogRecordFactory,
    ),
    "loggers disabled": (lambda: dictConfig({"version": 1}), lambda: logging.getLogger("jobledger").disabled),
    "level of a logger": (
        lambda: logging.getLogger("jobledger").setLevel(1),
        lambda: (logging.getLogger("jobledger").level, logging.getLogger("jobledger").isEnabledFor(2)),
    ),
    "handler of a logger": (
        lambda: logging.getLogger("jobledger").addHandler(logging.NullHandler()),
        lambda: list(logging.getLogger("jobledger").handlers),
    ),
    "start method": (
        lambda: multiprocessing.set_start_method("spawn"),
        lambda: multiprocessing.get_start_method(allow_none=True),
    ),
    "event loop policy": (
        lambda: asyncio.set_event_loop_policy(type("Own", (asyncio.DefaultEventLoopPolicy,), {})()),
        lambda: asyncio_internals.event_loop_policy()[0],
    ),
    "display": (lambda: setattr(sys, "displayhook", print), lambda: sys.displayhook),
    "locale": (lambda: locale.setlocale(locale.LC_ALL, "C"), lambda: locale.setlocale(locale.LC_ALL)),
    "temporary files": (lambda: setattr(tempfile, "tempdir", "/a/jobs/own"), lambda: tempfile.tempdir),
}


@pytest.fixture(autouse=True)
def no_start_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test may have used multiprocessing."""
    monkeypatch.setattr(multiprocessing.context._default_context, "_actual_context", None)


@contextmanager
def restored_traits() -> Iterator[None]:
    before = Traits()
    yield
    before.restore()


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.filterwarnings("ignore:.*event_?loop_?policy:DeprecationWarning")
def test_what_a_job_changes_in_its_process_is_restored(name: str) -> None:
    change, read = CHANGES[name]
    before = read()
    with restored_traits():
        change()
        assert read() != before
    assert read() == before


def test_limits_are_restored_although_another_one_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[int] = []

    def restore(limit: int, limits: tuple[int, int]) -> None:
        if limit == traits.LIMITS[0]:
            raise ValueError("not allowed to raise maximum limit")
        restored.append(limit)

    monkeypatch.setattr(resource, "setrlimit", restore)
    with pytest.raises(ValueError, match="not allowed"):
        traits._restore_limits(traits._limits())
    assert set(restored) == {*traits.LIMITS[1:]}


def test_the_time_zone_of_the_process_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    with restored_traits():
        os.environ["TZ"] = "Asia/Kolkata"
        time.tzset()
    assert (os.environ["TZ"], time.tzname) == ("UTC", ("UTC", "UTC"))


def test_a_start_method_can_be_set_in_each_run() -> None:
    for method in "spawn", "spawn", "forkserver":
        with restored_traits():
            multiprocessing.set_start_method(method)
            assert multiprocessing.get_start_method() == method


def test_a_start_method_that_was_only_used_can_be_set_in_the_next_run() -> None:
    with restored_traits():
        multiprocessing.get_context()
    with restored_traits():
        multiprocessing.set_start_method("spawn")


@pytest.mark.parametrize("has_policy", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_loop_that_a_job_has_closed_is_not_the_next_ones(
    has_policy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = asyncio.DefaultEventLoopPolicy() if has_policy else None
    monkeypatch.setattr(asyncio.events, "_event_loop_policy", policy)
    for _ in range(2):
        with restored_traits():
            loop = loop_of_this_thread()
            assert not loop.is_closed()
            loop.close()


def loop_of_this_thread() -> asyncio.AbstractEventLoop:
    """Since Python 3.14, ``asyncio.get_event_loop()`` no longer makes one."""
    try:
        return asyncio.get_event_loop()
    except RuntimeError:
        asyncio.set_event_loop(asyncio.new_event_loop())
        return asyncio.get_event_loop()


def test_a_traceback_that_a_job_has_asked_for_does_not_end_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", lambda: cancelled.append("cancelled"))
    with restored_traits():
        pass
    Traits(taken_over=True).restore()
    assert cancelled == ["cancelled"]


def test_a_setting_that_a_library_adds_stays() -> None:
    with restored_traits():
        setattr(settings, "ADDED_BY_A_LIBRARY", 1)  # noqa: B010
    assert "ADDED_BY_A_LIBRARY" in dir(settings)
    delattr(settings, "ADDED_BY_A_LIBRARY")


def test_what_a_jobs_own_text_stream_has_buffered_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    target = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with restored_traits():
        sys.stdout = io.TextIOWrapper(target, write_through=False)
        print("buffered", end="")
        assert target.getvalue() == b""
        kept = sys.stdout
    assert target.getvalue() == b"buffered"
    assert not kept.closed


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes when the process is to be replaced."""
    done: list[str] = []
    monkeypatch.setattr(billiard_internals, "exit_after_this_task", lambda: done.append("replaced"))
    return done


def test_a_process_that_cannot_be_restored_is_replaced(
    replaced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError

    values = iter([0, 10])
    trait = Trait(name="priority", read=lambda: next(values), restore=refuse)
    monkeypatch.setattr(traits, "TRAITS", [trait])
    with restored_traits():
        pass
    assert replaced == ["replaced"]


def test_a_process_that_was_left_as_it_was_is_not_replaced(replaced: list[str]) -> None:
    with restored_traits():
        pass
    assert replaced == []


@pytest.mark.parametrize("taken_over", [False, True])
def test_an_event_loop_left_running_is_cleared_and_the_process_replaced(
    replaced: list[str], taken_over: bool
) -> None:
    loop = asyncio.new_event_loop()
    before = Traits(taken_over=taken_over)
    asyncio._set_running_loop(loop)
    before.restore()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert replaced == ["replaced"]
    loop.close()


def test_what_a_library_adds_to_the_builtins_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with restored_traits():
        monkeypatch.setattr(builtins, "added_by_a_library", 1, raising=False)
    assert vars(builtins)["added_by_a_library"] == 1
