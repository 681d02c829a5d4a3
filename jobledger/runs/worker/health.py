"""Whether the service is well, part by part, in words that say what to do when it is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery import current_app
from django.db import connection
from kombu.exceptions import OperationalError

from jobledger.models import ProcessKind, Run, ServiceProcess, Status
from jobledger.runs.worker.presence import ABSENT_AFTER

_IMPATIENT = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
LATE_AFTER = timedelta(seconds=20)
"""A slot that nobody recorded for so long is late, whatever beat says of itself."""
UNCLAIMED_AFTER = timedelta(seconds=60)
MOST_PROCESSES = 200
MOST_WAITING = 1000


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the service."""

    name: str
    is_healthy: bool
    text: str


def parts(now: datetime, earliest_due: datetime | None) -> list[Part]:
    """Beat, workers, Redis and the database, whose answers all of this is made of.

    ``earliest_due`` is the first moment at which beat has something to do.
    """
    signed = list(ServiceProcess.objects.order_by("-seen_at")[:MOST_PROCESSES])
    return [_beat(signed, now, earliest_due), _workers(signed, now), _broker(), _database()]


def _beat(signed: Sequence[ServiceProcess], now: datetime, earliest_due: datetime | None) -> Part:
    if earliest_due is not None and earliest_due < now - LATE_AFTER:
        text = f"a slot has been due for {_seconds(now - earliest_due)} s and nobody took it"
        return Part(name="beat", is_healthy=False, text=text)
    return _presence("beat", ProcessKind.BEAT, signed, now)


def _workers(signed: Sequence[ServiceProcess], now: datetime) -> Part:
    part = _presence("workers", ProcessKind.WORKER, signed, now)
    if not part.is_healthy:
        return part
    waiting = Run.objects.filter(
        status=Status.QUEUED,
        publish_count__gt=0,
        publish_after__isnull=False,
        # Those that have a key wait for another run of their job.
        concurrency_key="",
        queued_at__lt=now - UNCLAIMED_AFTER,
    )
    count = waiting[:MOST_WAITING].count()
    if not count:
        return part
    told = f"{count} or more" if count == MOST_WAITING else str(count)
    return Part(name="workers", is_healthy=True, text=f"{part.text}; {told} runs wait for a free one")


def _broker() -> Part:
    # Importing it takes a fifth of the time in which any command starts, and only this asks Redis itself.
    from redis.exceptions import RedisError

    try:
        with current_app.connection_for_write(transport_options=_IMPATIENT) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except (OperationalError, RedisError, OSError) as error:
        text = f"does not answer: {error}. Slots are recorded all the same and run when it is back"
        return Part(name="Redis", is_healthy=False, text=text)
    return Part(name="Redis", is_healthy=True, text="answers")


def _database() -> Part:
    return Part(name="database", is_healthy=True, text=f"answers ({connection.display_name})")


def _presence(name: str, kind: ProcessKind, signed: Sequence[ServiceProcess], now: datetime) -> Part:
    of_kind = [process for process in signed if process.kind == kind]
    present = sorted(process.name for process in of_kind if process.seen_at >= now - ABSENT_AFTER)
    if present:
        return Part(name=name, is_healthy=True, text=f"{len(present)} at work ({', '.join(present[:4])})")
    if not of_kind:
        return Part(name=name, is_healthy=False, text="none has been seen: is it started?")
    return Part(name=name, is_healthy=False, text=f"last seen {_seconds(now - of_kind[0].seen_at)} s ago")


def _seconds(length: timedelta) -> int:
    return round(length.total_seconds())
