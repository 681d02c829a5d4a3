"""Another service: a Celery app without jobledger, and its tasks that schedules of this project start."""

from datetime import datetime
from pathlib import Path
from typing import Any

from celery import Celery
from celery.app.task import Context

from jobledger.models import Run
from jobledger.runs.publishing import publisher
from tests.unit.builders import NOON

CHARGE = "billing.charge"


class Elsewhere:
    """The other service. Its result backend is a directory, or what the URL says."""

    def __init__(self, folder: Path, url: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.app: Any = Celery("billing", backend=url or f"file://{folder}", set_as_current=False)

    def succeeds(self, run: Run, value: Any = None) -> None:
        self.app.backend.mark_as_done(str(run.pk), value)

    def fails(self, run: Run, error: Exception, traceback: str = "Traceback …") -> None:
        self.app.backend.mark_as_failure(str(run.pk), error, traceback=traceback)

    def is_revoked(self, run: Run, reason: str = "revoked") -> None:
        self.app.backend.mark_as_revoked(str(run.pk), reason)

    def stores(self, run: Run, value: Any, state: str, **request: Any) -> None:
        """Store something else than an end."""
        self.app.backend.store_result(
            str(run.pk), value, state, request=Context(request) if request else None
        )

    def stores_bytes(self, run: Run, data: bytes) -> None:
        """Store what no Celery does."""
        backend = self.app.backend
        backend.set(backend.get_key_for_task(str(run.pk)), data)


def sent(at: datetime = NOON, **values: Any) -> Run:
    """A run whose message was sent to the other service."""
    made = {"job": CHARGE, "trigger": "schedule", "queued_at": at, "publish_after": at, **values}
    run = Run.objects.create(**made)
    publisher.publish([run])
    run.refresh_from_db()
    return run
