"""Whether anybody is notified when a job fails, and whether the messages arrive."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from jobledger.alerts.rules import RuleBook, unusable_destinations
from jobledger.health.problem import PartName, Problem, ProblemKind, listed
from jobledger.jobs import registry
from jobledger.models import AlertDelivery, AlertDestination, DeliveryState

RECENT = timedelta(hours=24)


def recipients() -> str:
    """The destinations of the general rules."""
    names = sorted({name for rule in RuleBook.load().general for name in rule.destinations.values()})
    return f"to {listed(names)}" if names else "nobody is notified"


def problems(now: datetime) -> Iterator[Problem]:
    """Destinations that accept nothing or that jobs name in vain, and alerts that have not arrived."""
    yield from _unusable_destinations()
    failing = list(AlertDestination.objects.filter(enabled=True, failures__gt=0).order_by("name"))
    if failing:
        names, first = listed([each.name for each in failing]), failing[0]
        accept = "does" if len(failing) == 1 else "do"
        yield _problem(
            text=f"{names} {accept} not accept alerts: {first.error}",
            short=f"not accepted by {len(failing)} {'destination' if len(failing) == 1 else 'destinations'}",
            advice="They are tried again for a day. Correct the destination, and send a test.",
        )
    states = (DeliveryState.FAILED, DeliveryState.UNKNOWN)
    lost = AlertDelivery.objects.filter(state__in=states, changed_at__gte=now - RECENT).count()
    if lost:
        yield _problem(
            text=f"{lost} {'alert' if lost == 1 else 'alerts'} may not have arrived in the last 24 hours.",
            short=f"{lost} may not have arrived",
            advice="Each says why. What may have arrived is not sent again.",
        )


def _unusable_destinations() -> Iterator[Problem]:
    unusable = unusable_destinations(registry.all_jobs().values())
    if wrong := sorted(f"{name} (by {job})" for job, names in unusable.items() for name in names):
        yield _problem(
            text=f"Jobs name alert destinations that do not exist or cannot be used: {listed(wrong)}.",
            short=f"{len(wrong)} named in vain",
            advice="Add, enable or rename the destination. If a job has no other, the general ones are used.",
        )


def _problem(*, text: str, short: str, advice: str) -> Problem:
    kind = ProblemKind.UNDELIVERED_ALERTS
    return Problem(kind=kind, part=PartName.ALERTS, text=text, short=short, advice=advice)
