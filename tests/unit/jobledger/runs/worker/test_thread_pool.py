"""Each task has a thread of its own, at most so many at a time, and a worker that ends waits for them."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery.worker import state

from jobledger.jobs import registry
from jobledger.models import Reason, Why
from jobledger.runs.lease import termination
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt
from jobledger.runs.lease.termination import Recording, Termination
from jobledger.runs.limits import Limits
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.worker import thread_pool
from jobledger.runs.worker.thread_pool import TaskPool
from tests.waiting import wait_until

JOB = "probes.waiting"
NOW, HOUR = timedelta(0), timedelta(hours=1)


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process itself is left as it is."""
    monkeypatch.setattr(shared_process, "is_shared", lambda: True)
    monkeypatch.setattr(thread_pool, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(thread_pool, "cancel_all", lambda hostname: None)
    monkeypatch.setattr(registry, "of_task", lambda name: name == JOB or None)


class Tasks:
    """Tasks that last until they may end."""

    def __init__(self) -> None:
        self.begun: list[threading.Thread] = []
        self.may_end = threading.Event()
        self.results: list[object] = []

    def apply(self, pool: TaskPool, work: Callable[..., object] | None = None, task: str = JOB) -> None:
        pool.on_apply(work or self.last, args=(task,), callback=self.results.append, accept_callback=None)

    def last(self, task: str) -> str:
        self.begun.append(threading.current_thread())
        self.may_end.wait()
        return task

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.begun) == count, what=f"{count} have begun")


def test_each_task_has_a_new_thread_and_no_more_than_the_limit_run_at_a_time() -> None:
    pool, tasks = TaskPool(2), Tasks()
    for _ in range(5):
        tasks.apply(pool)
    tasks.wait_for(2)
    assert (len(pool.running), pool.num_processes, pool.info["threads"]) == (2, 2, 2)
    tasks.may_end.set()
    tasks.wait_for(5)
    wait_until(lambda: tasks.results == [JOB] * 5, what="all have ended")
    pool.on_stop()
    assert len(set(tasks.begun)) == 5
    assert not pool.running


def test_it_can_grow_and_shrink() -> None:
    pool, tasks = TaskPool(1), Tasks()
    for _ in range(3):
        tasks.apply(pool)
    tasks.wait_for(1)
    pool.grow(2)
    pool.maintain_pool()
    tasks.wait_for(3)
    pool.shrink(2)
    tasks.apply(pool)
    assert (pool.limit, len(tasks.begun)) == (1, 3)
    tasks.may_end.set()
    tasks.wait_for(4)
    pool.on_stop()


def test_a_jobs_threads_are_waited_for_unless_the_job_has_made_them_daemons() -> None:
    pool, found = TaskPool(1), list[tuple[bool, bool]]()

    def work(task: str) -> None:
        daemon = threading.Thread(target=int, daemon=True)
        found.append((threading.Thread(target=int).daemon, daemon.daemon))

    Tasks().apply(pool, work)
    pool.on_stop()
    assert found == [(False, True)]


def test_a_task_that_cannot_be_executed_leaves_its_place_to_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(task: str) -> None:
        raise LookupError("no such task")

    pool, tasks = TaskPool(1), Tasks()
    tasks.may_end.set()
    tasks.apply(pool, fail)
    tasks.apply(pool)
    tasks.wait_for(1)
    pool.on_stop()
    assert "no such task" in caplog.text


def test_without_room_for_a_thread_a_task_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, tasks = TaskPool(1), Tasks()
    tasks.may_end.set()
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", cannot_start)
        tasks.apply(pool)
        assert not pool.running
    pool.maintain_pool()
    tasks.wait_for(1)
    pool.on_stop()


def cannot_start(self: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_warm_shutdown_waits_for_what_has_begun_and_begins_nothing_more() -> None:
    pool, tasks = TaskPool(1), Tasks()
    tasks.apply(pool)
    tasks.apply(pool)
    tasks.wait_for(1)
    stopping = threading.Thread(target=pool.on_stop)
    stopping.start()
    stopping.join(0.05)
    assert stopping.is_alive()
    tasks.may_end.set()
    stopping.join()
    assert len(tasks.begun) == 1


class Job(Interrupter):
    """A job in a thread, and what becomes of its run."""

    def __init__(self, done: list[str], *, ends: threading.Event | None = None) -> None:
        super().__init__()
        self._done, self._ends = done, ends
        limits = Limits(time_limit=None, grace=NOW if ends is None else HOUR)
        recording = Recording(kill=self._record, overdue=lambda interrupt: done.append("overdue"))
        self.termination = Termination(uuid4(), self, ProcessTree(uuid4(), is_nested=True), limits, recording)
        self.termination.start()

    def interrupt(self, interrupt: JobInterrupt) -> None:
        self._done.append(str(interrupt.why.reason))
        if self._ends is not None:
            self._ends.set()

    def _record(self, interrupt: JobInterrupt) -> None:
        self._done.append("recorded")


def executed(pool: TaskPool, tasks: Tasks, *, ends: bool) -> tuple[Job, list[str]]:
    """A job that the pool executes, and what is done to it."""
    done: list[str] = []
    made: list[Job] = []

    def work(task: str) -> object:
        made.append(Job(done, ends=tasks.may_end if ends else None))
        try:
            return tasks.last(task)
        finally:
            made[0].termination.stop()

    tasks.apply(pool, work)
    tasks.wait_for(1)
    return made[0], done


def test_a_cold_shutdown_interrupts_jobs_and_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, tasks = TaskPool(2), Tasks()
    _, done = executed(pool, tasks, ends=True)
    # Celery stops the pool at first.
    monkeypatch.setattr(state, "should_terminate", True)
    pool.on_stop()
    assert (done, pool.running) == ([Reason.WORKER_SHUTDOWN], {})


def test_it_does_not_wait_for_a_job_that_has_not_ended_after_its_grace_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(termination, "AGAIN_SECONDS", 0.01)
    pool, tasks = TaskPool(1), Tasks()
    job, done = executed(pool, tasks, ends=False)
    job.termination.begin(JobCancelled(Why.of(Reason.WORKER_SHUTDOWN), run_id=uuid4()))
    pool.on_stop()
    assert "overdue" in done
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    exit_at_once: Any = thread_pool.exit_at_once
    exit_at_once(0)
    assert ("recorded" in done, exits) == (True, [0])
    tasks.may_end.set()
    wait_until(lambda: not pool.running)


def test_a_cold_shutdown_does_not_wait_for_an_ordinary_task(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, tasks = TaskPool(1), Tasks()
    tasks.apply(pool, task="somebody.elses")
    tasks.wait_for(1)
    pool.on_terminate()
    assert len(pool.running) == 1
    tasks.may_end.set()
    wait_until(lambda: not pool.running)


def test_a_job_may_end_while_a_cold_shutdown_looks_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, tasks = TaskPool(1), Tasks()
    tasks.apply(pool)
    tasks.wait_for(1)
    looks = iter([pool.running])
    # Whoever looks a second time finds nothing more.
    monkeypatch.setattr(TaskPool, "running", property(lambda self: next(looks, {})))
    pool.on_terminate()
    tasks.may_end.set()
    wait_until(lambda: not tasks.begun[0].is_alive())


def test_a_revoked_task_is_left_to_the_cancel_of_its_run() -> None:
    # Celery would otherwise kill the worker.
    TaskPool(1).terminate_job(os.getpid(), 9)
