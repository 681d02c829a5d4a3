"""Makes runs that were queued a while ago."""

from datetime import datetime, timedelta
from typing import Any

from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def ended(
    minutes_ago: float = 10, *, took: float = 5, delay: float = 0, now: datetime = NOON, **values: Any
) -> Run:
    """A run of a schedule that was due so long ago, started after the delay, and succeeded."""
    due_at = now - minutes_ago * MINUTE
    started_at = due_at + delay * SECOND
    given = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED}
    times = {"queued_at": due_at, "scheduled_for": None, "started_at": started_at}
    finished = {"finished_at": started_at + took * SECOND}
    return Run.objects.create(**{**given, **times, **finished, **values})


def live(minutes_ago: float = 10, status: Status = Status.RUNNING, **values: Any) -> Run:
    """A run that has not ended yet."""
    return ended(minutes_ago, **{"status": status, "finished_at": None, **values})
