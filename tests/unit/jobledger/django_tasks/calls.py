"""Executes and reads what the backend has enqueued."""

import os
from typing import Any

from celery import current_app

from jobledger.models import Run
from jobledger.runs.publishing.delivery import RUN_HEADER


def deliver(result: Any) -> Any:
    """Execute the run of a result in this process, as a worker would for its message; the result after it."""
    current_app.loader.import_default_modules()
    run = Run.objects.get(pk=result.id)
    task = current_app.tasks[result.task.module_path]
    task.push_request(id=str(run.pk), hostname="celery@here", headers={RUN_HEADER: True}, kwargs=run.options)
    try:
        task.run(**run.options)
    except Exception:  # noqa: BLE001 - Celery's business, as is its result
        pass
    finally:
        task.pop_request()
    result.refresh()
    return result


WORKER = f"celery@here:{os.getpid()}"
