"""What a job starts in a process with other jobs is known to be its own."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper

from jobledger.runs.execution.threads import Threads
from jobledger.runs.processes import job_threads
from jobledger.runs.processes.resources import measured
from tests.waiting import wait_until

word: ContextVar[str] = ContextVar("word", default="")


@pytest.fixture(autouse=True)
def begun() -> Iterator[None]:
    job_threads.begin()
    yield
    job_threads.end()


def in_a_thread(action: object) -> None:
    thread = threading.Thread(target=action)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_a_thread_that_a_job_starts_has_its_context() -> None:
    found: list[str] = []
    with job_threads.noted():
        word.set("mine")
        in_a_thread(lambda: found.append(word.get()))
    assert found == ["mine"]
    word.set("")


def test_a_thread_that_nobodys_job_starts_has_none() -> None:
    found: list[str] = []
    word.set("of the test")
    in_a_thread(lambda: found.append(word.get()))
    word.set("")
    assert found == [""]


def test_work_for_an_executor_belongs_to_whoever_gives_it_and_not_to_whoever_started_its_thread() -> None:
    with ThreadPoolExecutor(1) as shared:
        with job_threads.noted():
            word.set("first")
            assert shared.submit(word.get).result() == "first"
        with job_threads.noted():
            word.set("second")
            assert shared.submit(word.get).result() == "second"
        word.set("")


def test_the_run_waits_for_its_threads_and_not_for_those_of_others() -> None:
    may_end, has_ended = threading.Event(), list[bool]()

    def work() -> None:
        may_end.wait()
        has_ended.append(True)

    other = threading.Thread(target=time.sleep, args=[600], daemon=False)
    other.daemon = True  # so that the test run can end
    other.start()
    with job_threads.noted(), Threads().awaited():
        threading.Thread(target=work).start()
        threading.Timer(0.05, may_end.set).start()
    assert has_ended == [True]


def test_what_is_left_of_a_job_is_named_and_nothing_of_another_one() -> None:
    may_end = threading.Event()
    with job_threads.noted():
        threads = Threads()
        threading.Thread(target=may_end.wait, name="poller", daemon=True).start()
        with job_threads.noted():
            assert Threads().left() == []
        assert [each.name for each in threads.left()] == ["poller"]
        may_end.set()
        wait_until(lambda: threads.left() == [], what="the thread has ended")


def test_the_cpu_time_is_that_of_its_threads_and_the_memory_is_unknown() -> None:
    def compute() -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass

    is_over = threading.Event()

    def compute_all_the_time() -> None:
        while not is_over.is_set():
            compute()

    other = threading.Thread(target=compute_all_the_time)
    with job_threads.noted(), measured() as meter:
        in_a_thread(compute)
        compute()
        usage = meter.usage()
    other.start()
    with job_threads.noted(), measured() as meter:
        is_over.set()
        other.join()
        idle = meter.usage()
    assert usage.cpu_seconds >= 0.2
    assert idle.cpu_seconds < 0.1
    assert usage.peak_memory_bytes is None


def test_the_cpu_time_of_a_job_includes_that_of_one_that_it_calls() -> None:
    def compute() -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass

    with job_threads.noted() as outer:
        with job_threads.noted() as inner:
            in_a_thread(compute)
        assert inner.cpu_seconds() >= 0.1
        assert outer.cpu_seconds() >= 0.1


def test_processes_are_those_of_its_own_threads() -> None:
    other = subprocess.Popen(["sleep", "600"])
    found: list[set[int]] = []

    def as_job() -> None:
        with job_threads.noted() as threads:
            process = subprocess.Popen(["sleep", "600"])
            found.append(threads.children())
            found.append({process.pid})
            process.kill()
            process.wait()

    in_a_thread(as_job)
    other.kill()
    other.wait()
    assert found[0] == found[1]


@pytest.mark.django_db
def test_when_a_thread_ends_its_connections_are_closed_and_those_of_others_are_not(tmp_path: Path) -> None:
    settings = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3"}
    settings |= {"NAME": str(tmp_path / "own.sqlite3"), "OPTIONS": {}}
    mine, opened = DatabaseWrapper(settings, "default"), list[DatabaseWrapper]()

    def query() -> None:
        opened.append(DatabaseWrapper(settings, "default"))
        connections["default"] = opened[0]
        opened[0].connect()

    mine.connect()
    with job_threads.noted():
        in_a_thread(query)
    assert opened[0].connection is None
    assert mine.connection is not None
    mine.close()


def test_what_a_thread_raises_is_reported_in_the_context_of_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise LookupError("no such shelf")

    reported: list[tuple[str, str, str]] = []

    def report(raised: threading.ExceptHookArgs) -> None:
        assert raised.thread is not None
        reported.append((word.get(), str(raised.exc_value), raised.thread.name))

    monkeypatch.setattr(threading, "excepthook", report)
    with job_threads.noted():
        word.set("mine")
        thread = threading.Thread(target=fail, name="failing")
        thread.start()
        thread.join()
        word.set("")
    assert reported == [("mine", "no such shelf", "failing")]


def test_a_thread_that_exits_ends_without_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    with job_threads.noted() as threads:
        in_a_thread(lambda: sys.exit(3))
        assert threads.started == []
    assert reported == []
