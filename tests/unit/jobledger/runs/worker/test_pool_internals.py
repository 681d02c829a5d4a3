"""Celery's pool of processes, with real children: a message may be sent to a child that is not done yet."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from kombu.asynchronous import Hub, get_event_loop, set_event_loop
from kombu.asynchronous.semaphore import LaxBoundedSemaphore

from jobledger.runs.worker.pool_internals import TaskPool, _Pool
from tests.waiting import wait_until


def _wait_for(fifo: str) -> int:
    """In a child: returns its process id once the test has opened the FIFO, too."""
    with Path(fifo).open("rb"):
        return os.getpid()


class Request:
    """What Celery has for a message: it is executed once there is a slot for it."""

    def __init__(self, pool: _Pool, fifo: Path) -> None:
        self._pool, self.fifo = pool, fifo
        self.is_revoked = False
        self._apply_result: Any = None
        self.result: Any = None

    @property
    def is_executed(self) -> bool:
        """Whether a child has begun."""
        return bool(self.result is not None and self.result.accepted())

    def execute(self) -> None:
        if self.is_revoked:
            self._pool._putlock.release()
            return
        self.result = self._pool.apply_async(_wait_for, (str(self.fifo),), correlation_id=self.fifo.name)
        self._apply_result = ref(self.result)


class Running:
    """A pool with one child, and the event loop of a worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hub = Hub()
        set_event_loop(self._hub)
        self.slots = LaxBoundedSemaphore(1)
        self.pool = _Pool(1, threads=False, semaphore=self.slots)
        self.pool.register_with_event_loop(self._hub)
        # Else, it would wait for events only.
        self._hub.call_repeatedly(0.01, lambda: None)
        self._loop = self._hub.create_loop()

    def receive(self, name: str) -> Request:
        """A message whose task lasts until ``finish``."""
        request = Request(self.pool, self._folder / name)
        os.mkfifo(request.fifo)
        self.slots.acquire(Request.execute, request)
        return request

    def begin(self, name: str) -> Request:
        """One that a child has begun to execute."""
        request = self.receive(name)
        self.until(lambda: request.is_executed)
        return request

    def finish(self, request: Request) -> int:
        """Let it end; returns which child has executed it."""
        # Opened for both, this does not wait for the child.
        descriptor = os.open(request.fifo, os.O_RDWR)
        self.until(lambda: request.is_executed and request.result.ready())
        os.close(descriptor)
        return int(request.result.get(0))

    def until(self, condition: Callable[[], object]) -> None:
        """Go on with the loop until the condition is true."""

        def has_become_true() -> object:
            next(self._loop)
            return condition()

        wait_until(has_become_true, what="the pool has done it")

    def end(self) -> None:
        # If a test has failed, a child may wait for it.
        self.pool.terminate() if self.pool._cache else self.pool.close()
        self.pool.join()
        self._loop.close()
        self._hub.close()

    @property
    def sent(self) -> int:
        """How many messages were sent to children."""
        return sum(self.pool.write_stats.values())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    before = get_event_loop()
    made = Running(tmp_path)
    yield made
    made.end()
    set_event_loop(before)


def test_a_message_that_waits_is_sent_to_a_child_that_is_not_done(running: Running) -> None:
    first = running.begin("first")
    assert running.pool.waiting_request() is None
    second = running.receive("second")
    assert running.pool.waiting_request() is second
    assert running.pool.send_ahead(first)
    assert running.sent == 2
    assert not second.is_executed
    assert running.finish(first) == running.finish(second)


def test_a_child_gets_no_message_for_as_long_as_it_executes_the_one_that_was_sent(running: Running) -> None:
    first = running.begin("first")
    second, third = running.receive("second"), running.receive("third")
    assert running.pool.send_ahead(first)
    assert not running.pool.send_ahead(first)
    running.finish(first)
    running.until(lambda: second.is_executed)
    # Nor does it take the place of a message, so that one is not executed if it is revoked meanwhile.
    assert running.pool.waiting_request() is third
    assert running.sent == 2
    running.finish(second)
    running.finish(third)
    assert running.slots.value == 1
    running.finish(running.receive("fourth"))


def test_a_message_does_not_wait_for_that_if_another_is_first_or_a_child_is_idle(running: Running) -> None:
    first = running.begin("first")
    second = running.receive("second")
    running.pool.outbound_buffer.append("put back, since its child has died")
    assert running.pool.waiting_request() is None
    running.pool.outbound_buffer.clear()
    assert running.pool.waiting_request() is second
    busy = set(running.pool._busy_workers)
    running.pool._busy_workers.clear()
    assert running.pool.waiting_request() is None
    running.pool._busy_workers |= busy
    running.finish(first)
    running.finish(second)


def test_if_the_message_was_revoked_the_child_gets_the_next_once_it_is_idle(running: Running) -> None:
    first = running.begin("first")
    revoked = running.receive("revoked")
    revoked.is_revoked = True
    assert not running.pool.send_ahead(first)
    second = running.receive("second")
    assert running.pool.waiting_request() is second
    running.finish(first)
    running.finish(second)
    assert running.slots.value == 1


def test_a_message_that_was_sent_to_a_child_that_dies_is_sent_to_the_next(running: Running) -> None:
    first = running.begin("first")
    second = running.receive("second")
    assert running.pool.send_ahead(first)
    (pid,) = first.result.worker_pids()
    os.kill(pid, signal.SIGKILL)
    running.until(lambda: second.is_executed)
    assert running.finish(second) != pid
    running.finish(running.receive("third"))


def test_nothing_is_sent_to_a_child_for_a_request_that_it_does_not_execute(running: Running) -> None:
    first = running.begin("first")
    second = running.receive("second")
    assert not running.pool.send_ahead(second)
    running.finish(first)
    assert not running.pool.send_ahead(first)
    running.finish(second)


@pytest.mark.parametrize("how", ["terminated", "hard time limit"])
def test_a_child_that_has_returned_the_result_is_not_killed_for_it(
    how: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be executing the next one already."""
    first = running.begin("first")
    second = running.receive("second")
    assert running.pool.send_ahead(first)
    killed: list[int] = []
    monkeypatch.setattr(running.pool, "on_hard_timeout", lambda task: killed.append(task._job))
    monkeypatch.setattr("billiard.pool._kill", lambda pid, signum: killed.append(pid))
    (pid,) = first.result.worker_pids()

    def kill() -> None:
        if how == "terminated":
            running.pool.terminate_job(pid)
        else:
            running.pool._on_hard_timeout(first.result._job)

    descriptor = os.open(first.fifo, os.O_RDWR)
    results = first.result._write_to.outq._reader
    wait_until(lambda: results.poll(0), what="the child has returned the result")
    kill()
    assert killed == []
    os.close(descriptor)
    running.until(first.result.ready)
    running.until(lambda: second.is_executed)
    running.finish(second)


def test_a_child_that_has_returned_no_result_is_killed(running: Running) -> None:
    first = running.begin("first")
    (pid,) = first.result.worker_pids()
    running.pool.terminate_job(pid, signal.SIGKILL)
    running.until(first.result.ready)
    running.finish(running.receive("second"))


def test_a_pool_without_an_event_loop_sends_nothing_ahead() -> None:
    pool = TaskPool(1)
    pool._pool = TaskPool.BlockingPool
    assert pool.waiting_request() is None
    assert not pool.send_ahead(Request)


def test_celery_names_the_pool_as_its_own() -> None:
    """In a worker's banner."""
    assert TaskPool.__module__.rpartition(".")[2] == "prefork"
