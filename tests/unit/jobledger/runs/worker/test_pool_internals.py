"""Celery's pool of processes, with real children: a message may be sent to a child that is not done yet."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from billiard.pool import ApplyResult
from kombu.asynchronous import Hub, get_event_loop, set_event_loop

from jobledger.runs.worker.pool_internals import TaskPool, _Pool
from tests.waiting import wait_until


def _wait_for(fifo: str) -> int:
    """In a child: returns its process id once the test has opened the FIFO, too."""
    with Path(fifo).open("rb"):
        return os.getpid()


class Running:
    """A pool with one child, and the event loop of a worker."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hub = Hub()
        set_event_loop(self._hub)
        self.pool = _Pool(1, threads=False)
        self.pool.register_with_event_loop(self._hub)
        # Else, it would wait for events only.
        self._hub.call_repeatedly(0.01, lambda: None)
        self._loop = self._hub.create_loop()

    def submit(self, name: str) -> ApplyResult:
        """A task of this name, which lasts until ``finish``."""
        os.mkfifo(self._folder / name)
        return self.pool.apply_async(_wait_for, (str(self._folder / name),), correlation_id=name)

    def finish(self, name: str, result: ApplyResult) -> int:
        """Let it end; returns which child has executed it."""
        # Opened for both, this does not wait for the child.
        descriptor = os.open(self._folder / name, os.O_RDWR)
        self.until(result.ready)
        os.close(descriptor)
        return int(result.get(0))

    def until(self, condition: Callable[[], object]) -> None:
        """Go on with the loop until the condition is true."""

        def has_become_true() -> object:
            next(self._loop)
            return condition()

        wait_until(has_become_true, what="the pool has done it")

    def end(self) -> None:
        self.pool.close()
        self.pool.join()
        self._loop.close()
        self._hub.close()

    @property
    def is_about_to_write(self) -> bool:
        """Whether the loop writes as soon as it can, without waiting for an event."""
        return any(descriptor in self._hub.writers for descriptor in self.pool._all_inqueues)

    @property
    def written(self) -> int:
        """How many tasks were written to children."""
        return sum(self.pool.write_stats.values())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    before = get_event_loop()
    made = Running(tmp_path)
    yield made
    made.end()
    set_event_loop(before)


def test_a_message_that_waits_is_sent_to_a_child_that_is_not_done(running: Running) -> None:
    first = running.submit("first")
    running.until(first.accepted)
    second = running.submit("second")
    assert running.pool.next_task_id() == "second"
    assert running.pool.send_ahead("first")
    assert running.is_about_to_write
    running.until(lambda: running.written == 2)
    assert not second.accepted()
    assert running.finish("first", first) == running.finish("second", second)


def test_a_child_gets_no_message_for_as_long_as_it_executes_the_one_that_was_sent(running: Running) -> None:
    first = running.submit("first")
    running.until(first.accepted)
    second, third = running.submit("second"), running.submit("third")
    assert running.pool.send_ahead("first")
    assert not running.pool.send_ahead("first")
    running.finish("first", first)
    running.until(second.accepted)
    assert running.written == 2
    assert running.pool.next_task_id() == "third"
    running.finish("second", second)
    running.finish("third", third)
    # All are idle again.
    fourth = running.submit("fourth")
    assert running.pool.next_task_id() is None
    running.finish("fourth", fourth)


def test_a_message_that_was_sent_to_a_child_that_dies_is_sent_to_the_next(running: Running) -> None:
    first = running.submit("first")
    running.until(first.accepted)
    second = running.submit("second")
    assert running.pool.send_ahead("first")
    running.until(lambda: running.written == 2)
    (pid,) = first.worker_pids()
    os.kill(pid, signal.SIGKILL)
    running.until(second.accepted)
    assert running.finish("second", second) != pid
    third = running.submit("third")
    running.finish("third", third)


def test_nothing_is_sent_ahead_to_a_child_that_does_not_execute_the_task(running: Running) -> None:
    first = running.submit("first")
    running.until(first.accepted)
    second = running.submit("second")
    assert not running.pool.send_ahead("second")
    assert not running.pool.send_ahead("unknown")
    running.finish("first", first)
    running.finish("second", second)


def test_a_pool_without_an_event_loop_sends_nothing_ahead() -> None:
    pool = TaskPool(1)
    pool._pool = TaskPool.BlockingPool
    assert pool.next_task_id() is None
    assert not pool.send_ahead("first")
