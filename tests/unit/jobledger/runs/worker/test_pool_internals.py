"""Celery's pool of processes, with real children: a message may be sent to a child that is not done yet."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from celery.concurrency.asynpool import AsynPool
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
        self.id = fifo.name
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
        self.result = self._pool.apply_async(_wait_for, (str(self.fifo),), correlation_id=self.id)
        self._apply_result = ref(self.result)


class Running:
    """A pool with one child, and the event loop of a worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hub = Hub()
        set_event_loop(self._hub)
        self.slots = LaxBoundedSemaphore(1)
        self.pool = _Pool(1, threads=False, semaphore=self.slots, enable_timeouts=True)
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
    assert running.pool.waiting_task() is None
    second = running.receive("second")
    assert running.pool.waiting_task() == "second"
    assert running.pool.send_ahead("second", first)
    assert running.sent == 2
    assert not second.is_executed
    assert running.finish(first) == running.finish(second)


def test_a_child_gets_no_message_for_as_long_as_it_executes_the_one_that_was_sent(running: Running) -> None:
    first = running.begin("first")
    second, third = running.receive("second"), running.receive("third")
    assert running.pool.send_ahead("second", first)
    assert not running.pool.send_ahead("third", first)
    running.finish(first)
    running.until(lambda: second.is_executed)
    # Nor does it take the place of a message, so that one is not executed if it is revoked meanwhile.
    assert running.pool.waiting_task() == "third"
    assert running.sent == 2
    running.finish(second)
    running.finish(third)
    assert running.slots.value == 1
    running.finish(running.receive("fourth"))


def test_no_message_waits_for_that_if_a_child_is_idle(running: Running) -> None:
    first = running.begin("first")
    second = running.receive("second")
    busy = set(running.pool._busy_workers)
    running.pool._busy_workers.clear()
    assert running.pool.waiting_task() is None
    running.pool._busy_workers |= busy
    assert running.pool.waiting_task() == "second"
    running.finish(first)
    running.finish(second)


def test_so_is_a_message_that_has_a_slot_already(running: Running) -> None:
    """Celery counts a slot too many after a child was replaced."""
    running.slots.grow()
    first = running.begin("first")
    second, third = running.receive("second"), running.receive("third")
    assert running.pool.waiting_task() == "second"
    assert running.pool.send_ahead("second", first)
    running.finish(first)
    running.until(lambda: second.is_executed)
    running.finish(second)
    running.finish(third)
    assert running.slots.value == 2


@pytest.mark.parametrize("next_one", [True, False])
def test_if_the_message_was_revoked_no_other_is_sent_in_its_place(next_one: bool, running: Running) -> None:
    """Nobody has looked whether another may be sent."""
    first = running.begin("first")
    revoked = running.receive("revoked")
    revoked.is_revoked = True
    others = [running.receive("second")] if next_one else []
    assert not running.pool.send_ahead("revoked", first)
    assert running.sent == 1
    others = others or [running.receive("second")]
    # What comes later waits for a slot, in which it can be revoked.
    assert (others[0].result is not None) is next_one
    assert running.pool.waiting_task() == "second"
    running.finish(first)
    running.finish(others[0])
    assert running.slots.value == 1


def test_a_message_that_was_sent_to_a_child_that_dies_is_sent_to_the_next(running: Running) -> None:
    first = running.begin("first")
    second = running.receive("second")
    assert running.pool.send_ahead("second", first)
    (pid,) = first.result.worker_pids()
    os.kill(pid, signal.SIGKILL)
    running.until(lambda: second.is_executed)
    assert running.finish(second) != pid
    running.finish(running.receive("third"))


def test_nothing_is_sent_to_a_child_for_a_request_that_it_does_not_execute(running: Running) -> None:
    first = running.begin("first")
    second = running.receive("second")
    assert not running.pool.send_ahead("second", second)
    running.finish(first)
    assert not running.pool.send_ahead("second", first)
    running.finish(second)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The children that Celery would have killed."""
    killed: list[int] = []
    by_limit = lambda self, task: killed.extend(task.worker_pids())  # noqa: E731 - it is a stub
    monkeypatch.setattr(AsynPool.TimeoutHandler, "on_hard_timeout", by_limit)
    monkeypatch.setattr("billiard.pool._kill", lambda pid, signum: killed.append(pid))
    return killed


KILLS: dict[str, Callable[[Any, Request], None]] = {
    "terminated": lambda pool, request: pool.terminate_job(*request.result.worker_pids()),
    "hard time limit": lambda pool, request: pool._on_hard_timeout(request.result._job),
}


@pytest.mark.parametrize("how", KILLS)
def test_a_child_that_has_returned_the_result_is_not_killed_for_it(
    how: str, running: Running, killed: list[int]
) -> None:
    """It may be executing the next one already."""
    first = running.begin("first")
    second = running.receive("second")
    assert running.pool.send_ahead("second", first)
    descriptor = os.open(first.fifo, os.O_RDWR)
    results = first.result._write_to.outq._reader
    wait_until(lambda: results.poll(0), what="the child has returned the result")
    KILLS[how](running.pool, first)
    assert killed == []
    os.close(descriptor)
    running.until(first.result.ready)
    running.until(lambda: second.is_executed)
    running.finish(second)


@pytest.mark.parametrize("how", KILLS)
def test_a_child_that_has_not_returned_the_result_is_killed(
    how: str, running: Running, killed: list[int]
) -> None:
    first = running.begin("first")
    KILLS[how](running.pool, first)
    assert killed == first.result.worker_pids()
    running.finish(first)


def test_a_pool_without_an_event_loop_sends_nothing_ahead() -> None:
    pool = TaskPool(1)
    pool._pool = TaskPool.BlockingPool
    assert pool.waiting_task() is None
    assert not pool.send_ahead("first", Request)


def test_celery_names_the_pool_as_its_own() -> None:
    """In a worker's banner."""
    assert TaskPool.__module__.rpartition(".")[2] == "prefork"
