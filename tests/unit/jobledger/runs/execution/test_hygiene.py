"""Nothing that a job leaves behind affects the next job."""

import asyncio
import builtins
import decimal
import gc
import io
import locale
import logging
import os
import random
import resource
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone, translation

from jobledger.models import Run, Trigger
from jobledger.runs.execution import hygiene
from jobledger.runs.execution.hygiene import (
    Trait,
    Traits,
    connections_in_transaction,
    release_connections,
    restored_process,
)
from jobledger.runs.worker import billiard_internals


def assert_next_run_is_saved_alone() -> None:
    """What the next run writes is committed, and nothing of what was left open."""
    assert not connection.in_atomic_block
    Run.objects.create(job="next", trigger=Trigger.CLI)
    connection.rollback()
    assert [run.job for run in Run.objects.all()] == ["next"]


def test_directory_time_zones_and_locale_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    before = Path.cwd(), locale.setlocale(locale.LC_ALL), time.tzname
    with restored_process(), restored_traits():
        os.chdir(tmp_path)
        os.environ["TZ"] = "Asia/Kolkata"
        time.tzset()
        locale.setlocale(locale.LC_ALL, "C")
        timezone.activate(ZoneInfo("Asia/Kolkata"))
        translation.activate("de")
    assert (Path.cwd(), locale.setlocale(locale.LC_ALL), time.tzname) == before
    assert os.environ["TZ"] == "UTC"
    assert timezone.get_current_timezone_name() == "UTC"
    assert translation.get_language() == "en-us"


@pytest.mark.parametrize("by_the_job", [True, False])
def test_the_directory_may_be_deleted_before_or_by_the_job(
    by_the_job: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    before = Path().stat().st_ino
    if not by_the_job:
        directory.rmdir()
    with restored_process():
        if by_the_job:
            directory.rmdir()
        os.chdir(tmp_path)
    assert Path().stat().st_ino == before
    os.chdir(tmp_path)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_left_open_is_rolled_back_and_the_next_statement_is_committed() -> None:
    transaction.set_autocommit(False)
    Run.objects.create(job="left", trigger=Trigger.CLI)
    release_connections(of_caller=frozenset(), close=False)
    assert connection.get_autocommit()
    assert_next_run_is_saved_alone()


@pytest.mark.django_db(transaction=True)
def test_an_atomic_block_that_was_never_exited_is_rolled_back() -> None:
    transaction.atomic().__enter__()
    Run.objects.create(job="left", trigger=Trigger.CLI)
    release_connections(of_caller=frozenset(), close=False)
    assert_next_run_is_saved_alone()


@pytest.mark.django_db(transaction=True)
def test_the_transaction_of_a_jobs_caller_continues() -> None:
    with transaction.atomic():
        Run.objects.create(job="caller", trigger=Trigger.CLI)
        release_connections(of_caller=connections_in_transaction(), close=True)
        assert connection.in_atomic_block
    assert Run.objects.get().job == "caller"


# The traits of the process.

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
    "umask": (lambda: os.umask(0o007), hygiene._umask),
    "new variable": (lambda: os.environ.update(A_JOBS="own"), lambda: os.environ.get("A_JOBS")),
    "no variable": (lambda: os.environ.pop("PATH"), lambda: os.environ.get("PATH")),
    "soft limit": (
        lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, resource.getrlimit(resource.RLIMIT_CORE)[1])),
        lambda: resource.getrlimit(resource.RLIMIT_CORE),
    ),
    "log level": (lambda: logging.basicConfig(level=1, force=True), hygiene._logging),
    "no logging": (lambda: logging.disable(logging.CRITICAL), lambda: logging.root.manager.disable),
    "builtin": (lambda: setattr(builtins, "print", len), lambda: print),
    "no builtin": (lambda: delattr(builtins, "print"), lambda: vars(builtins).get("print")),
    "stdout": (lambda: setattr(sys, "stdout", io.StringIO()), lambda: sys.stdout),
    "path": (lambda: sys.path.insert(0, "/a/jobs/own"), lambda: list(sys.path)),
    "another path": (lambda: setattr(sys, "path", []), lambda: list(sys.path)),
    "recursion": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "socket timeout": (lambda: socket.setdefaulttimeout(5), socket.getdefaulttimeout),
    "garbage": (gc.disable, gc.isenabled),
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: list(warnings.filters)),
    "decimals": (lambda: setattr(decimal.getcontext(), "prec", 3), lambda: decimal.getcontext().prec),
    "descriptor": (lambda: os.dup2(os.open(os.devnull, os.O_RDONLY), 0), lambda: os.fstat(0).st_ino),
}


@contextmanager
def restored_traits() -> Iterator[None]:
    traits = Traits()
    yield
    traits.restore()


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_job_changes_in_its_process_is_restored(name: str) -> None:
    change, read = CHANGES[name]
    before = read()
    with restored_process(), restored_traits():
        change()
        assert read() != before or name == "descriptor"
    assert read() == before


def test_a_closed_descriptor_is_opened_again() -> None:
    before = os.fstat(0)
    with restored_process():
        os.close(0)
    assert os.path.samestat(os.fstat(0), before)


def test_a_jobs_seed_does_not_make_the_next_ones_numbers_predictable() -> None:
    found = set()
    for _ in range(2):
        with restored_process():
            random.seed(1)
        found.add(random.random())
    assert len(found) == 2


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
    monkeypatch.setattr(hygiene, "TRAITS", [trait])
    with restored_traits():
        pass
    assert replaced == ["replaced"]


def test_a_process_that_was_left_as_it_was_is_not_replaced(replaced: list[str]) -> None:
    with restored_process(), restored_traits():
        pass
    assert replaced == []


@pytest.mark.parametrize("taken_over", [False, True])
def test_an_event_loop_left_running_is_cleared_and_the_process_replaced(
    replaced: list[str], taken_over: bool
) -> None:
    loop = asyncio.new_event_loop()
    traits = Traits(taken_over=taken_over)
    asyncio._set_running_loop(loop)
    traits.restore()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    assert replaced == ["replaced"]
    loop.close()


def test_what_a_library_adds_to_the_builtins_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with restored_traits():
        monkeypatch.setattr(builtins, "added_by_a_library", 1, raising=False)
    assert vars(builtins)["added_by_a_library"] == 1


def test_a_process_whose_pipe_a_job_has_closed_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipes = iter([(1, 7), (1, 8)])
    monkeypatch.setattr(billiard_internals, "results_pipe", lambda: next(pipes))
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    with restored_process():
        pass
    assert exits == [1]
