"""Publishing: queued runs' messages are given to the broker, in batches, as often as it takes.

Whoever takes runs to publish first moves their ``publish_after`` on by a short grace: others leave them alone
for that time, and take them when it passes without the broker having had them. What happens to a run that was
published is told in ``published``.
"""

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from celery import current_app
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import BatchPublishError, EncodeError, OperationalError  # type: ignore[attr-defined]  # stubs of kombu 5.6

from jobledger.jobs import registry, secrets
from jobledger.models import Run, Status, Trigger
from jobledger.runs.publishing.messages import Sender
from jobledger.runs.publishing.published import Published

logger = logging.getLogger(__name__)

BATCH = 1000
GRACE_OF_THE_RECORDER = timedelta(seconds=10)


class BrokerDownError(Exception):
    """The broker did not take a batch of messages. Their runs stay queued and come up again."""


def publish(runs: Sequence[Run]) -> None:
    """``give`` the runs' messages to the broker, and note it in the ledger. Raises BrokerDownError."""
    published = Published()
    note(give(runs), published)
    published.write()


def give(runs: Sequence[Run]) -> list[Run]:
    """Give the runs' messages to the broker; returns those that it took. A job that is unknown here waits.

    Raises BrokerDownError when it did not take them all. A message that arrived although the broker seemed
    to refuse it is harmless: a run is claimed once. A run of which no message can be made fails.
    """
    known = [run for run in runs if _is_known(run)]
    if not known:
        return []
    try:
        with current_app.producer_or_acquire() as producer, producer.batch():
            sender, shown = Sender(producer), _Shown()
            return [run for run in known if _is_sent(run, sender, shown)]
    except _broker_errors() as error:
        cause = error.__cause__ or error
        raise BrokerDownError(f"{type(cause).__name__}: {cause}") from error


def note(given: Sequence[Run], published: Published) -> None:
    """Keep in mind which runs the broker has; an ordinary task is sent, and nobody will claim it."""
    published.add([run for run in given if _is_job(run)])
    if ordinary := [run for run in given if not _is_job(run)]:
        sent = {"status": Status.SENT, "publish_after": None, "finished_at": timezone.now()}
        _still_queued(ordinary).update(**sent)


def try_to_publish(runs: Sequence[Run]) -> None:
    """Publish; where the broker is down leave it, with a line in the log, to who publishes queued runs."""
    try:
        publish(runs)
    except BrokerDownError as error:
        logger.warning("%d runs stay queued until the broker is back: %s", len(runs), error)


def publish_due(now: datetime) -> int:
    """Publish a batch of the queued runs whose time has come (again); returns how many.

    Raises BrokerDownError.
    """
    runs = _take_due(now)
    publish(runs)
    return len(runs)


def next_publish_after() -> datetime | None:
    """When the next queued run wants to be published."""
    queued = Run.objects.filter(status=Status.QUEUED, publish_after__isnull=False)
    return queued.order_by("publish_after").values_list("publish_after", flat=True).first()


def _take_due(now: datetime) -> list[Run]:
    due = Run.objects.filter(status=Status.QUEUED, publish_after__lte=now)
    if not due.exists():
        return []
    with transaction.atomic():
        runs = list(due.order_by("publish_after").select_for_update(skip_locked=True)[:BATCH])
        _still_queued(runs).update(publish_after=now + GRACE_OF_THE_RECORDER)
    schedules = PeriodicTask.objects.in_bulk({run.schedule_id for run in runs if run.schedule_id})
    for run in runs:
        run.schedule = schedules.get(run.schedule_id)
    return runs


def _is_known(run: Run) -> bool:
    """A job that this process has not heard of is left to one started since; tasks have dotted names."""
    return _is_job(run) or "." in run.job


class _Shown(dict[tuple[str, int], dict[str, Any]]):
    """The options of runs without secrets; runs of one tick share theirs, which are then masked once."""

    def of(self, run: Run) -> dict[str, Any]:
        key = (run.job, id(run.options))
        if key not in self:
            self[key] = secrets.masked(run.job, run.options)
        return self[key]


def _is_sent(run: Run, sender: Sender, shown: _Shown) -> bool:
    try:
        _send(run, sender, shown)
    except (TypeError, ValueError, LookupError, EncodeError) as error:
        # Odd values that came by SQL, or a queue that is none: they stop no other run. Among the errors of a
        # broker kombu counts KeyError, which Celery raises for such a queue.
        logger.exception("No message can be made of run %s of %s", run.pk, run.job)
        why = f"Its message could not be made: {type(error).__name__}: {error}"
        ended = {"finished_at": timezone.now(), "publish_after": None, "error": why}
        Run.objects.move(run.pk, from_status=Status.QUEUED, to=Status.FAILED, **ended)
        return False
    return True


def _send(run: Run, sender: Sender, shown: _Shown) -> None:
    job = registry.all_jobs().get(run.job)
    message: dict[str, Any] = {
        "task_id": str(run.pk),
        "args": run.args,
        "kwargs": run.options,
        "shown": shown.of(run),
        **_routing(run.schedule),
    }
    if job is None:
        sender.send_ordinary(run.job, **message)
        return
    # Who called by `celery call` may wait for the result, also for that of a later attempt.
    sender.send_job(job.task_name, ignore_result=run.trigger != Trigger.CELERY, **message)


def _routing(schedule: PeriodicTask | None) -> dict[str, Any]:
    """Where django-celery-beat's fields send the message."""
    if schedule is None:
        return {}
    names = ("queue", "exchange", "routing_key", "priority")
    routing = {name: value for name in names if (value := getattr(schedule, name)) not in (None, "")}
    return {**routing, "headers": _headers(schedule)}


def _headers(schedule: PeriodicTask) -> dict[str, Any]:
    if schedule.headers in {"", "{}", None}:
        return {"periodic_task_name": schedule.name}
    try:
        headers = json.loads(schedule.headers)
    except ValueError:
        headers = None
    if not isinstance(headers, dict):
        # They decorate the message; a run is not lost for them.
        logger.warning("The headers of schedule %s are no JSON object and are left out", schedule.name)
        headers = {}
    return {**headers, "periodic_task_name": schedule.name}


def _is_job(run: Run) -> bool:
    return run.job in registry.all_jobs()


def _still_queued(runs: Sequence[Run]) -> QuerySet[Run]:
    return Run.objects.filter(pk__in=[run.pk for run in runs], status=Status.QUEUED)


@cache
def _broker_errors() -> tuple[type[BaseException], ...]:
    connection = current_app.connection_for_write()
    return (OperationalError, BatchPublishError, *connection.connection_errors, *connection.channel_errors)
