"""Whether the service is well, part by part, in words that say what to do when it is not."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.db.models import Max
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from tasks_app.jobs.models import NextSlot, ProcessKind, Run, ServiceProcess, Status
from tasks_app.jobs.running.presence import ABSENT_AFTER

_IMPATIENT = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "max_retries": 1, "interval_start": 0}
LATE_AFTER = timedelta(seconds=20)
"""A slot that nobody recorded for so long is late, whatever beat says of itself."""
UNCLAIMED_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the service."""

    name: str
    is_well: bool
    text: str


def parts(now: datetime) -> list[Part]:
    """Beat, workers and Redis. That the database answers shows in the answer itself."""
    return [_beat(now), _workers(now), _broker()]


def _beat(now: datetime) -> Part:
    late = NextSlot.objects.filter(due_at__lt=now - LATE_AFTER).order_by("due_at").first()
    present, last_seen = _signatures(ProcessKind.BEAT, now)
    if late is not None and late.due_at is not None:
        text = f"a slot has been due for {_seconds(now - late.due_at)} s and nobody took it"
        return Part(name="beat", is_well=False, text=text)
    return _presence("beat", present, last_seen, now)


def _workers(now: datetime) -> Part:
    present, last_seen = _signatures(ProcessKind.WORKER, now)
    part = _presence("workers", present, last_seen, now)
    if not part.is_well:
        return part
    waiting = Run.objects.filter(
        status=Status.QUEUED,
        publish_count__gt=0,
        publish_after__isnull=False,
        queued_at__lt=now - UNCLAIMED_AFTER,
    ).order_by("queued_at")
    count = waiting[:1000].count()
    return Part(
        name="workers",
        is_well=True,
        text=f"{part.text}; {count} runs wait for a free one" if count else part.text,
    )


def _broker() -> Part:
    try:
        with current_app.connection_for_write(transport_options=_IMPATIENT) as connection:
            channel: Any = connection.default_channel
            channel.client.ping()
    except (OperationalError, RedisError, OSError) as error:
        text = f"does not answer: {error}. Slots are recorded all the same and run when it is back"
        return Part(name="Redis", is_well=False, text=text)
    return Part(name="Redis", is_well=True, text="answers")


def _signatures(kind: ProcessKind, now: datetime) -> tuple[list[str], datetime | None]:
    """The names of those that are there, and when one of them was last seen."""
    found = ServiceProcess.objects.filter(kind=kind)
    present = list(
        found.filter(seen_at__gte=now - ABSENT_AFTER).order_by("name").values_list("name", flat=True)[:50]
    )
    return present, None if present else found.aggregate(last=Max("seen_at"))["last"]


def _presence(name: str, present: list[str], last_seen: datetime | None, now: datetime) -> Part:
    if present:
        return Part(name=name, is_well=True, text=f"{len(present)} at work ({', '.join(present[:4])})")
    if last_seen is None:
        return Part(name=name, is_well=False, text="none has been seen: is it started?")
    return Part(name=name, is_well=False, text=f"last seen {_seconds(now - last_seen)} s ago")


def _seconds(length: timedelta) -> int:
    return round(length.total_seconds())
