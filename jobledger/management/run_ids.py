"""Finds the run that a command line names, by its id or by the beginning of its id."""

from collections.abc import Iterable

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger.models import Run
from jobledger.models.run import SHORTEST_ID_PREFIX, id_prefix
from jobledger.runs import dispatch

MOST_CANDIDATES = 10
HELP = f"The run's id, or at least its first {SHORTEST_ID_PREFIX} characters."


def find(text: str) -> Run:
    """The one run whose id begins so, or whose Celery task was called so. Raises CommandError."""
    digits = id_prefix(text)
    if digits is None:
        return _single(text, Run.objects.filter(pk=dispatch.run_id_of(text)))
    if len(digits) < SHORTEST_ID_PREFIX:
        raise CommandError(f"{text!r} is too short: give at least {SHORTEST_ID_PREFIX} characters of the id")
    return _single(text, Run.objects.with_id_prefix(text).newest_first()[: MOST_CANDIDATES + 1])


def _single(text: str, runs: Iterable[Run]) -> Run:
    found = list(runs)
    if not found:
        raise CommandError(f"There is no run {text!r}")
    if len(found) > 1:
        raise CommandError(f"{text!r} begins the ids of several runs:\n{_candidates(found)}")
    return found[0]


def _candidates(runs: list[Run]) -> str:
    lines = [
        f"  {run.pk}  {run.job}  {run.status}  {timezone.localtime(run.queued_at):%Y-%m-%d %H:%M:%S %Z}"
        for run in runs[:MOST_CANDIDATES]
    ]
    return "\n".join([*lines, "  …"] if len(runs) > MOST_CANDIDATES else lines)
