"""What pausing a job, a schedule and the whole service have in common."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.api import schemas
from jobledger.api.authentication import user_of
from jobledger.api.responses import invalid, parsing
from jobledger.management import arguments
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms


def terms_of(request: HttpRequest, body: schemas.PauseTerms | None, now: datetime) -> Terms:
    """The terms of a pause that begins now; without a body, the defaults. Raises ProblemError."""
    user, body = user_of(request), body or schemas.PauseTerms()
    return Terms(
        until=_until(body, now),
        reason=body.reason,
        username=user.get_username(),
        user=user,  # type: ignore[arg-type]  # never anonymous
        on_resume=body.on_resume,
    )


def paused(schedules: Sequence[PeriodicTask] | None, terms: Terms) -> dict[str, Any]:
    names = None if schedules is None else [schedule.name for schedule in schedules]
    return {"schedules": names, "until": terms.until}


def resumed(schedules: Sequence[PeriodicTask] | None, now: datetime) -> dict[str, Any]:
    names = None if schedules is None else [schedule.name for schedule in schedules]
    still = pausing.active_pauses(None, now) if schedules is not None else ()
    texts = [f"The whole service is paused {pausing.terms_of(pause, now)}." for pause in still]
    return {"schedules": names, "still_paused": texts}


def _until(body: schemas.PauseTerms, now: datetime) -> datetime | None:
    if body.duration is not None and body.until is not None:
        raise invalid({"body.until": "duration and until exclude each other: send one of them"})
    if body.duration is not None:
        with parsing("body.duration"):
            duration = arguments.duration(body.duration, "body.duration")
        if not duration:
            raise invalid({"body.duration": "a pause must last longer than 0s"})
        return (now + duration).replace(microsecond=0)
    if body.until is None:
        return None
    with parsing("body.until"):
        zone = timezone.get_default_timezone()
        until = arguments.time(body.until.isoformat(), "body.until", zone).astimezone(UTC)
    if until <= now:
        raise invalid({"body.until": f"{until.isoformat()} is in the past"})
    return until
