"""A run waits for its threads as a process does when it exits."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobledger.models import Why
from jobledger.runs.execution.threads import Threads
from jobledger.runs.lease.interrupts import JobCancelled
from jobledger.runs.outcome import SignalExit
from jobledger.runs.processes.leftovers import Leftover
from tests.waiting import wait_until


def test_a_thread_that_goes_on_is_named() -> None:
    threads, may_end = Threads(), threading.Event()
    thread = threading.Thread(target=may_end.wait, name="poller")
    thread.start()
    assert threads.left() == [Leftover(name="poller")]
    may_end.set()
    thread.join()
    assert threads.left() == []


def test_a_thread_of_the_service_is_not_the_jobs_although_it_starts_later() -> None:
    may_end, others = threading.Event(), list[threading.Thread]()
    threads = Threads(others=others)
    thread = threading.Thread(target=may_end.wait, name="heartbeat")
    others.append(thread)
    thread.start()
    assert threads.left() == []
    may_end.set()
    thread.join()


def test_a_thread_that_is_about_to_end_may_do_so() -> None:
    threads = Threads()
    threading.Timer(0.05, lambda: None).start()
    assert threads.left() == []


def test_a_jobs_threads_are_waited_for_as_at_a_processs_exit() -> None:
    threads, done = Threads(), list[int]()
    threading.Timer(0.05, lambda: threading.Timer(0.05, lambda: done.append(1)).start()).start()
    with pytest.raises(ValueError, match="in the main thread"), threads.awaited():
        raise ValueError("in the main thread")
    assert done == [1]


def test_what_a_job_has_submitted_to_an_executor_is_waited_for() -> None:
    """The executor is not shut down: a module may keep it, and the next job may use it."""
    executor = ThreadPoolExecutor(2)
    for _ in range(2):
        threads = Threads()
        with threads.awaited():
            # A C function, which has no frame of its own.
            futures = [executor.submit(time.sleep, 0.02) for _ in range(6)]
        assert all(future.done() for future in futures)
    executor.shutdown()


def test_what_a_job_has_submitted_to_an_executor_of_processes_is_waited_for() -> None:
    threads = Threads()
    executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with threads.awaited():
        future = executor.submit(abs, -1)
    assert future.done()
    executor.shutdown()


def test_a_jobs_processes_are_waited_for_as_at_a_processs_exit(tmp_path: Path) -> None:
    with Threads().awaited():
        multiprocessing.get_context("fork").Process(target=_touch_later, args=[tmp_path / "done"]).start()
    assert (tmp_path / "done").exists()


def _touch_later(file: Path) -> None:
    time.sleep(0.1)
    file.touch()


def _idle_executor() -> ProcessPoolExecutor:
    # With `fork`, it would inherit the threads' locks.
    executor = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    executor.submit(int).result()
    return executor


def _daemon() -> Any:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=[600], daemon=True)
    process.start()
    return process


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (_daemon, lambda daemon: daemon.kill()),
        (_idle_executor, lambda executor: executor.shutdown()),
        (lambda: multiprocessing.get_context("fork").Pool(1), lambda pool: pool.terminate()),
        (lambda: multiprocessing.get_context("fork").Manager(), lambda manager: manager.shutdown()),
    ],
    ids=["daemon", "executor", "pool", "manager"],
)
def test_processes_that_end_at_an_exit_are_not_waited_for(
    start: Callable[[], Any], end: Callable[[Any], object]
) -> None:
    with Threads().awaited():
        started = start()
        multiprocessing.get_context("fork").Process(target=int).start()
    end(started)


def test_processes_of_an_interrupted_job_are_not_waited_for() -> None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=[600])
    with suppress(SignalExit), Threads().awaited():
        process.start()
        raise SignalExit(15)
    assert process.is_alive()
    process.kill()
    process.join()


@pytest.mark.parametrize(
    "end", [None, JobCancelled(Why(), run_id=uuid4()), SignalExit(15)], ids=["daemon", "cancel", "signal"]
)
def test_daemon_threads_and_those_of_an_interrupted_job_are_not_waited_for(end: BaseException | None) -> None:
    threads, may_end = Threads(), threading.Event()
    thread = threading.Thread(target=may_end.wait, daemon=end is None)
    with suppress(JobCancelled, SignalExit), threads.awaited():
        thread.start()
        if end is not None:
            raise end
    assert thread.is_alive()
    may_end.set()
    thread.join()


def test_threads_that_were_there_before_the_job_are_not_its_own() -> None:
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    threads = Threads()
    assert threads.left() == []
    may_end.set()
    thread.join()


def test_the_idle_threads_of_an_executor_do_no_harm() -> None:
    threads, may_end = Threads(), threading.Event()
    with ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()
        wait_until(lambda: threads.left() == [], what="its thread is idle")
        busy = executor.submit(may_end.wait)
        wait_until(busy.running)
        assert len(threads.left()) == 1
        may_end.set()
