"""The private parts of Celery's pool of processes that this package uses. No other module does.

The pool writes a message to a child once that has returned the result of the previous one. It has no hook to
have it written earlier, while the child does what is left of the previous one. Tests fail if a Celery release
changes any of this.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool as CeleryTaskPool


class _Pool(AsynPool):
    """Can write a message to a child before that has returned its result."""

    # Not in the stubs.
    _all_inqueues: set[int]
    _busy_workers: set[int]
    _cache: dict[int, Any]
    _fileno_to_inq: dict[int, Any]
    _mark_worker_as_available: Callable[[int], None]
    on_poll_start: Callable[[], None]
    outbound_buffer: deque[Any]
    write_stats: dict[int, int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sent_ahead = set[int]()
        super().__init__(*args, **kwargs)

    def on_job_ready(self, job: int, i: Any, obj: Any, inqW_fd: int) -> None:  # noqa: N803 - Celery's
        """A child has returned a result. It is idle then, unless it may have been sent another message."""
        if job in self._sent_ahead:
            self._sent_ahead.discard(job)
        else:
            super().on_job_ready(job, i, obj, inqW_fd)

    def next_task_id(self) -> str | None:
        """The task whose message is the next to be written to a child, if all are busy."""
        are_all_busy = len(self._busy_workers) >= len(self._all_inqueues)
        return self.outbound_buffer[0].correlation_id if are_all_busy and self.outbound_buffer else None

    def send_ahead(self, task_id: str) -> bool:
        """Write the next message to the child that executes this task; False if one was written already."""
        self._sent_ahead.intersection_update(self._cache)
        task = next((each for each in self._cache.values() if each.correlation_id == task_id), None)
        if task is None or task._job in self._sent_ahead or not task.accepted():  # noqa: SLF001 - it has no public attribute
            return False
        child = task._write_to  # noqa: SLF001 - it has no public attribute
        descriptor: int = child.inqW_fd
        # Celery has not noticed its death.
        if self._fileno_to_inq.get(descriptor) is not child:
            return False
        self._sent_ahead.add(task._job)  # noqa: SLF001 - it has no public attribute
        self._mark_worker_as_available(descriptor)
        # Else, it would only be written after the next event.
        self.on_poll_start()
        return True


class TaskPool(CeleryTaskPool):
    """Celery's pool of processes, in which the next message need not wait for a result."""

    Pool = _Pool
    _pool: Any  # not in the stubs

    def next_task_id(self) -> str | None:
        """The task whose message waits for a child, if any; None if the pool has no event loop."""
        return self._pool.next_task_id() if isinstance(self._pool, _Pool) else None

    def send_ahead(self, task_id: str) -> bool:
        """Write the message that waits to the child that executes this task; False if that is impossible."""
        return isinstance(self._pool, _Pool) and self._pool.send_ahead(task_id)
