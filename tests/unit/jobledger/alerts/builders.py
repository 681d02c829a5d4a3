"""Makes rules, destinations and runs that end."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from jobledger.jobs.declaration import AlertKind
from jobledger.models import (
    Alert,
    AlertDestination,
    AlertRule,
    DestinationKind,
    Reason,
    Run,
    Status,
    Trigger,
    Why,
)
from jobledger.runs import attempts
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of

CRASH = outcome_of(RuntimeError("boom"))
LOST = Outcome(status=Status.LOST, why=Why.of(Reason.LOST_PROCESS, worker="w"), exit_code=None, error="gone")
TIMED_OUT = Outcome(status=Status.TIMED_OUT, why=Why.of(Reason.TIME_LIMIT, limit_seconds=5), exit_code=124)
CANCELLED = Outcome(status=Status.CANCELLED, why=Why.of(Reason.USER, user="ann"), exit_code=130)
EVERYTHING = [kind.value for kind in AlertKind]


def destination(name: str = "team", **values: Any) -> AlertDestination:
    defaults = {"kind": DestinationKind.MAIL, "addresses": "team@example.com"}
    return AlertDestination.objects.create(name=name, **{**defaults, **values})


def rule(*destinations: AlertDestination, name: str = "all", **values: Any) -> AlertRule:
    made = AlertRule.objects.create(name=name, **values)
    made.destinations.set(destinations)
    return made


def running(**values: Any) -> Run:
    defaults = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.RUNNING, "worker": "w"}
    return Run.objects.create(**{**defaults, "started_at": timezone.now() - timedelta(seconds=5), **values})


def end(outcome: Outcome, **values: Any) -> Run:
    """A run that has ended like this, in the way that every run ends."""
    run = running(**values)
    assert attempts.end(run, outcome)
    run.refresh_from_db()
    return run


def succeed(**values: Any) -> Run:
    return end(SUCCESS, **values)


def fail(**values: Any) -> Run:
    return end(CRASH, **values)


def told() -> list[str]:
    """The kinds of all alerts, oldest first."""
    return list(Alert.objects.order_by("time", "pk").values_list("kind", flat=True))
