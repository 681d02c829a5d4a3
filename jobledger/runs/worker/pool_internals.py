"""The private parts of Celery's pool of processes that this package uses. No other module does.

Celery sends a message to a child once that has returned the result of the previous one. It has no hook to do
so earlier, while the child does what is left of the previous one. Tests fail if a Celery release changes any
of this.
"""

from collections import deque
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool as CeleryTaskPool

MAX_BYTES = 2500
"""Of a message that is sent ahead, approximately: fits in any pipe, so that it never waits half written."""


class _TimeoutHandler(AsynPool.TimeoutHandler):  # type: ignore[misc, valid-type]  # a variable in the stubs
    """Kills a child at the hard time limit of its task."""

    def on_hard_timeout(self, job: Any) -> None:
        """Unless the child may be executing the next one."""
        if not _has_returned(job):
            super().on_hard_timeout(job)


class _Pool(AsynPool):
    """Can send a message to a child before that has returned its result."""

    TimeoutHandler = _TimeoutHandler
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
        self._sent_ahead = dict[int, bool]()
        """The pool's tasks after which a message was sent, and whether their slots were released for it."""
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
        self._slots_of_results.is_released = self._sent_ahead.get(job, False)
        if job in self._sent_ahead:
            del self._sent_ahead[job]
        else:
            super().on_job_ready(job, i, obj, inqW_fd)

    def waiting_task(self) -> str | None:
        """The id of the task whose message waits until a child is idle; None if one is, or nothing waits."""
        if len(self._busy_workers) < len(self._all_inqueues):
            return None
        # Celery counts more free slots than there are once a child was replaced. So one may wait here.
        if self.outbound_buffer:
            return str(self.outbound_buffer[0].correlation_id)
        waiting = self._putlock._waiting  # noqa: SLF001 - it has no public attribute
        arguments = waiting[0][1] if waiting else ()
        return str(arguments[0].id) if arguments else None

    def send_ahead(self, task_id: str, over: Any) -> bool:
        """Send the message of the waiting task to the child that executes a request, which is over.

        Returns False if that was sent one before, or if the message cannot be sent.
        """
        self._sent_ahead = {job: each for job, each in self._sent_ahead.items() if job in self._cache}
        task = self._executed_for(over)
        if task is None or task._job in self._sent_ahead:  # noqa: SLF001 - it has no public attribute
            return False
        if has_released := not self.outbound_buffer:
            # This puts the message into the buffer. If its task was revoked or has expired, the next one.
            self._putlock.release()
        descriptor: int = task._write_to.inqW_fd  # noqa: SLF001 - it has no public attribute
        if self.outbound_buffer and self.outbound_buffer[0].correlation_id == task_id:
            self._busy_workers.discard(descriptor)
            self._hub.consolidate_callback([descriptor])
            if descriptor in self._busy_workers:
                self._sent_ahead[task._job] = has_released  # noqa: SLF001 - it has no public attribute
                return True
            self._busy_workers.add(descriptor)
        if has_released:
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

    def waiting_task(self) -> str | None:
        """The id of the task whose message waits until a child is idle; None if there is no event loop."""
        return self._pool.waiting_task() if isinstance(self._pool, _Pool) else None

    def send_ahead(self, task_id: str, over: Any) -> bool:
        """Send the message of this task to the child that executes a request which is over, if possible."""
        return isinstance(self._pool, _Pool) and self._pool.send_ahead(task_id, over)


def _has_returned(task: Any) -> bool:
    """Whether the child has returned the task's result, which was not read yet."""
    if not task.accepted():
        return False
    results = task._write_to.outq._reader  # noqa: SLF001 - it has no public attribute
    return not results.closed and bool(results.poll(0))
