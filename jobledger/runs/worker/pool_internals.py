"""The private parts of Celery's pool of processes that this package uses. No other module does.

Celery sends a message to a child once that has returned the result of the previous one. It has no hook to do
so earlier, while the child does what is left of the previous one. Tests fail if a Celery release changes any
of this.
"""

from collections import deque
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool as CeleryTaskPool

MAX_BYTES = 4000
"""Of a message that is sent ahead: fits in any pipe, so that it never waits half written."""


class _Pool(AsynPool):
    """Can send a message to a child before that has returned its result."""

    # Not in the stubs.
    _all_inqueues: set[int]
    _busy_workers: set[int]
    _cache: dict[int, Any]
    _fileno_to_inq: dict[int, Any]
    _hub: Any
    _putlock: Any
    outbound_buffer: deque[Any]
    write_stats: dict[int, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sent_ahead = set[int]()
        super().__init__(*args, **kwargs)

    def create_result_handler(self, **options: Any) -> Any:
        """Has a result release the slot of its task, unless that was released ahead."""
        slots = self._putlock
        self._slots_of_results = self._putlock = _SlotsOfResults(slots)
        try:
            return super().create_result_handler(**options)
        finally:
            self._putlock = slots

    def register_with_event_loop(self, hub: Any) -> None:
        super().register_with_event_loop(hub)
        self._hub = hub

    def on_job_ready(self, job: int, i: Any, obj: Any, inqW_fd: int) -> None:  # noqa: N803 - Celery's
        """A child has returned a result. It is idle then, unless it was sent another message."""
        self._slots_of_results.is_released = job in self._sent_ahead
        if job in self._sent_ahead:
            self._sent_ahead.discard(job)
        else:
            super().on_job_ready(job, i, obj, inqW_fd)

    def waiting_request(self) -> Any:
        """The request whose message waits until a child is idle; None if one is, or nothing waits."""
        waiting = self._putlock._waiting  # noqa: SLF001 - it has no public attribute
        if self.outbound_buffer or not waiting or len(self._busy_workers) < len(self._all_inqueues):
            return None
        _, arguments, _ = waiting[0]
        return arguments[0] if arguments else None

    def send_ahead(self, over: Any) -> bool:
        """Send the message that waits to the child that executes another request, which is over.

        Returns False if that was done before, or if nothing could be sent.
        """
        self._sent_ahead.intersection_update(self._cache)
        task = self._executed_for(over)
        if task is None or task._job in self._sent_ahead:  # noqa: SLF001 - it has no public attribute
            return False
        descriptor: int = task._write_to.inqW_fd  # noqa: SLF001 - it has no public attribute
        self._busy_workers.discard(descriptor)
        # This puts the message into the buffer, unless its task was revoked or has expired.
        self._putlock.release()
        self._hub.consolidate_callback([descriptor])
        if descriptor in self._busy_workers:
            self._sent_ahead.add(task._job)  # noqa: SLF001 - it has no public attribute
            return True
        self._busy_workers.add(descriptor)
        self._putlock.acquire(lambda: None)
        return False

    def terminate_job(self, pid: int, sig: int | None = None) -> None:
        """End the task that a child executes; does nothing if the child may be executing the next one."""
        if not any(_has_returned(task) for task in self._cache.values() if pid in task.worker_pids()):
            super().terminate_job(pid, sig)

    def _executed_for(self, request: Any) -> Any:
        """The pool's task for a request, if a child has begun it and has not returned a result."""
        task = request._apply_result and request._apply_result()  # noqa: SLF001 - it has no public attribute
        if task is None or task._job not in self._cache or not task.accepted():  # noqa: SLF001 - as above
            return None
        child = task._write_to  # noqa: SLF001 - as above
        return task if self._fileno_to_inq.get(child.inqW_fd) is child else None

    def _on_hard_timeout(self, job: int) -> None:
        task = self._cache.get(job)
        if task is None or not _has_returned(task):
            super()._on_hard_timeout(job)  # type: ignore[misc]  # not in the stubs


class _SlotsOfResults:
    """The semaphore of a pool's slots, as used when a result is read."""

    def __init__(self, slots: Any) -> None:
        self._slots = slots
        self.is_released = False

    def release(self) -> None:
        if not self.is_released:
            self._slots.release()


class TaskPool(CeleryTaskPool):
    """Celery's pool of processes, in which the next message need not wait for a result."""

    # By which Celery names it.
    __module__ = CeleryTaskPool.__module__
    Pool = _Pool
    _pool: Any  # not in the stubs

    def waiting_request(self) -> Any:
        """The request whose message waits until a child is idle, if any; None if there is no event loop."""
        return self._pool.waiting_request() if isinstance(self._pool, _Pool) else None

    def send_ahead(self, over: Any) -> bool:
        """Send the message that waits to the child that executes this request; False if it could not be."""
        return isinstance(self._pool, _Pool) and self._pool.send_ahead(over)


def _has_returned(task: Any) -> bool:
    """Whether the child has returned the task's result, which was not read yet."""
    if not task.accepted():
        return False
    results = task._write_to.outq._reader  # noqa: SLF001 - it has no public attribute
    return not results.closed and bool(results.poll(0))
