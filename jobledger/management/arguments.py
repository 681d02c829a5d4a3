"""Reads what operators write on a command line: times, durations, time zones, counts and the ids of runs.

A wrong value raises ``CommandError``, which names the option: exit code 1. argparse's own types would exit
with 2, and cannot know the zone of a time without an offset.
"""

from argparse import ArgumentTypeError
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError

from jobledger import formats
from jobledger.models import Run
from jobledger.models.run import SHORTEST_ID_PREFIX, id_prefix
from jobledger.runs import dispatch
from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.wallclock import zone_named

LONGEST_NUMBER = 9
MOST_CANDIDATES = 10

TIME_HELP = "ISO 8601, such as 2026-10-24T00:00; without an offset it is local time in the zone"
DURATION_HELP = "such as 90s, 1h30m or 2d"
RUN_HELP = f"The run's id, or at least its first {SHORTEST_ID_PREFIX} characters."


def count(text: str) -> int:
    """An argparse type: a whole number of at least 1, small enough for a database's LIMIT."""
    if not text.isdecimal() or len(text) > LONGEST_NUMBER or int(text) < 1:
        most = "9" * LONGEST_NUMBER
        raise ArgumentTypeError(f"{text[:50]!r} is not a whole number from 1 to {most}")
    return int(text)


def zone(text: str, option: str) -> ZoneInfo:
    """The IANA zone of that name."""
    try:
        return zone_named(text)
    except RuleError as error:
        raise CommandError(f"{option}: {error}") from None


def time(text: str, option: str, zone: ZoneInfo) -> datetime:
    """A time in UTC, read from ISO 8601.

    Without an offset it is local time in the zone: one that occurs twice means the first occurrence, and one
    that the clock skips means the end of the gap.
    """
    try:
        parsed = datetime.fromisoformat(text)
        in_utc = parsed.astimezone(UTC) if parsed.tzinfo else _local_time(parsed, zone)
    except OverflowError:
        raise CommandError(f"{option}: {text!r} is out of range") from None
    except ValueError:
        example = "write it like 2026-10-24, 2026-10-24T01:30 or 2026-10-24T01:30+01:00"
        raise CommandError(f"{option}: {text!r} is not a time; {example}") from None
    if not wallclock.is_representable(in_utc):
        years = f"{wallclock.EARLIEST.year} to {wallclock.LATEST.year - 1}"
        raise CommandError(f"{option}: {text!r} is not in the years {years}")
    return in_utc


def duration(text: str, option: str) -> timedelta:
    """A duration, read from numbers with units."""
    parsed = formats.duration_in(text)
    if parsed is None:
        units = "numbers with the units w, d, h, m and s"
        raise CommandError(f"{option}: {text!r} is not a duration; write {units}, {DURATION_HELP}")
    if parsed > formats.LONGEST_DURATION:
        raise CommandError(f"{option}: {text!r} is longer than a hundred years")
    return parsed


def period(text: str, option: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Two times with a slash between them, the earlier one first."""
    first, slash, last = text.partition("/")
    if not slash:
        raise CommandError(f"{option}: {text!r} is not two times FROM/TO with a slash between them")
    start, end = time(first, option, zone), time(last, option, zone)
    if end <= start:
        raise CommandError(f"{option}: {text!r} ends before it begins")
    return start, end


def run(text: str) -> Run:
    """The one run whose id begins so, or whose Celery task has this id."""
    digits = id_prefix(text)
    if digits is None:
        return _single(text, Run.objects.filter(pk=dispatch.run_id_of(text)))
    if len(digits) < SHORTEST_ID_PREFIX:
        raise CommandError(f"{text!r} is too short: give at least {SHORTEST_ID_PREFIX} characters of the id")
    return _single(text, Run.objects.with_id_prefix(text).newest_first()[: MOST_CANDIDATES + 1])


def _local_time(wall: datetime, zone: ZoneInfo) -> datetime:
    return wallclock.to_utc(wall, zone, fold=0) or wallclock.end_of_gap(wall, zone)


def _single(text: str, runs: Iterable[Run]) -> Run:
    found = list(runs)
    if not found:
        raise CommandError(f"There is no run {text!r}")
    if len(found) > 1:
        raise CommandError(f"{text!r} begins the ids of several runs:\n{_candidates(found)}")
    return found[0]


def _candidates(runs: list[Run]) -> str:
    lines = [
        f"  {run.pk}  {run.job}  {run.status}  {formats.exact(run.queued_at)}"
        for run in runs[:MOST_CANDIDATES]
    ]
    return "\n".join([*lines, "  …"] if len(runs) > MOST_CANDIDATES else lines)
