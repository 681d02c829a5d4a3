"""Finds the run that a command line names, by its id or by the beginning of its id."""

import re
import uuid
from collections.abc import Iterable

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger.models import Run
from jobledger.runs import dispatch

FEWEST_CHARACTERS = 4
MOST_CANDIDATES = 10
HELP = f"The run's id, or at least its first {FEWEST_CHARACTERS} characters."

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,32}")


def find(text: str) -> Run:
    """The one run whose id begins so, or whose Celery task was called so. Raises CommandError."""
    digits = text.strip().lower().replace("-", "")
    if _HEXADECIMAL.fullmatch(digits) is None:
        return _single(text, Run.objects.filter(pk=dispatch.run_id_of(text)))
    if len(digits) < FEWEST_CHARACTERS:
        raise CommandError(f"{text!r} is too short: give at least {FEWEST_CHARACTERS} characters of the id")
    # Between two ids, and not by a pattern: so both databases use the primary key.
    first, last = (uuid.UUID(digits.ljust(32, digit)) for digit in "0f")
    beginning = Run.objects.filter(pk__gte=first, pk__lte=last)
    return _single(text, beginning.newest_first()[: MOST_CANDIDATES + 1])


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
