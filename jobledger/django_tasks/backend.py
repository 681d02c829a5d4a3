"""The backend itself. Apps may import their tasks from their models, so this imports no models."""

from typing import Any

from jobledger.django_tasks.framework import AnyResult, AnyTask, BaseTaskBackend


class JobledgerBackend(BaseTaskBackend):
    """Enqueued functions are runs in the ledger, which Celery's workers execute."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    records_runs = True
    """Tells this backend, and those that inherit from it, from all others."""

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> AnyResult:
        """Create a queued run, in the current transaction; its message is sent once that is committed.

        Raises InvalidTask if no worker would find the function, TypeError or ValueError if the arguments do
        not fit or are not JSON.
        """
        from jobledger.django_tasks import enqueueing

        self.validate_task(task)
        return enqueueing.enqueue(self, task, tuple(args), dict(kwargs))

    def get_result(self, result_id: str) -> AnyResult:
        """The result as of now, of any run of a function, however it was started.

        Raises TaskResultDoesNotExist if there is no such run, or if it has been pruned.
        """
        from jobledger.django_tasks import results

        return results.result_with_id(result_id)
