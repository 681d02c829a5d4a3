"""Parses command-line values: times, durations, time zones, counts and run ids.

An invalid value raises ``CommandError``, which names the option and exits with code 1. argparse's own types
would exit with 2, and cannot know the zone of a time without an offset.
"""

from argparse import ArgumentTypeError
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger import formats
from jobledger.escapes import escaped
from jobledger.jobs import registry
from jobledger.management.operator_command import SeveralLinesError
from jobledger.models import DeadLetter, Run
from jobledger.models.run import MIN_ID_PREFIX_LENGTH, id_prefix
from jobledger.runs import dispatch
from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.wallclock import zone_named

MAX_DIGITS = 9
MAX_CANDIDATES = 10

TIME_HELP = "ISO 8601, such as 2026-10-24T00:00; without an offset it is local time in the zone"
DURATION_HELP = "such as 90s, 1h30m or 2d"
RUN_HELP = f"The run's id, or at least its first {MIN_ID_PREFIX_LENGTH} characters."


def count(text: str) -> int:
    """An argparse type: a positive whole number, small enough for a database's LIMIT."""
    if not text.isdecimal() or len(text) > MAX_DIGITS or int(text) < 1:
        raise ArgumentTypeError(f"{text[:50]!r} is not a whole number from 1 to {'9' * MAX_DIGITS}")
    return int(text)


def zone(text: str, option: str) -> ZoneInfo:
    try:
        return zone_named(text)
    except RuleError as error:
        raise CommandError(f"{option}: {error}") from None


def time(text: str, option: str, zone: ZoneInfo) -> datetime:
    """Parse an ISO 8601 time; returns it in UTC.

    Without an offset it is local time in the zone. If it occurs twice, it means the first occurrence; if the
    clock skips it, the end of the gap.
    """
    try:
        parsed = datetime.fromisoformat(text)
        in_utc = parsed.astimezone(UTC) if parsed.tzinfo else _local_time(parsed, zone)
    except OverflowError:
        raise CommandError(f"{option}: {text!r} is out of range") from None
    except ValueError:
        examples = "use a format such as 2026-10-24, 2026-10-24T01:30 or 2026-10-24T01:30+01:00"
        raise CommandError(f"{option}: {text!r} is not a time; {examples}") from None
    if not wallclock.is_representable(in_utc):
        years = f"{wallclock.EARLIEST.year} to {wallclock.LATEST.year - 1}"
        raise CommandError(f"{option}: {text!r} is not in the years {years}")
    return in_utc


def since(text: str, option: str) -> datetime:
    """Parse how long ago, or a time. Only a duration ends with a unit."""
    if text.lower().endswith(("w", "d", "h", "m", "min", "s")):
        return timezone.now() - duration(text, option)
    return time(text, option, timezone.get_default_timezone())


def duration(text: str, option: str) -> timedelta:
    """Parse a duration: numbers with units."""
    parsed = formats.duration_from_text(text)
    if parsed is None:
        units = "numbers with the units w, d, h, m and s"
        raise CommandError(f"{option}: {text!r} is not a duration; use {units}, {DURATION_HELP}")
    if parsed > formats.MAX_DURATION:
        raise CommandError(f"{option}: {text!r} is longer than a hundred years")
    return parsed


def period(text: str, option: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Parse a period: its start and its end, separated by a slash."""
    first, slash, last = text.partition("/")
    if not slash:
        raise CommandError(f"{option}: {text!r} is not a period; use FROM/TO, two times separated by a slash")
    start, end = time(first, option, zone), time(last, option, zone)
    if end <= start:
        raise CommandError(f"{option}: {text!r} ends before it starts")
    return start, end


def job_of_runs(name: str) -> str:
    """The job's name in the ledger, from its name or task name. It may no longer exist."""
    try:
        return registry.find(name).name
    except registry.UnknownJobError as error:
        if Run.objects.filter(job=name).exists():
            return name
        raise CommandError(f"{error.args[0]} There are no earlier runs of it, either.") from error


def run(text: str) -> Run:
    """Find the run by its id, by a unique prefix of it, or by the id of its Celery task."""
    digits = id_prefix(text)
    if digits is None:
        return _single(text, Run.objects.filter(pk=dispatch.run_id_of(text)))
    if len(digits) < MIN_ID_PREFIX_LENGTH:
        raise CommandError(
            f"{text!r} is too short: give at least {MIN_ID_PREFIX_LENGTH} characters of the id"
        )
    return _single(text, Run.objects.with_id_prefix(text).newest_first()[: MAX_CANDIDATES + 1])


def _local_time(wall: datetime, zone: ZoneInfo) -> datetime:
    return wallclock.to_utc(wall, zone, fold=0) or wallclock.end_of_gap(wall, zone)


def _single(text: str, runs: Iterable[Run]) -> Run:
    found = list(runs)
    if not found:
        raise CommandError(f"There is no run {text!r}{_as_dead_letter(text)}")
    if len(found) > 1:
        raise SeveralLinesError(f"{text!r} is ambiguous; several runs match:\n{_candidates(found)}")
    return found[0]


def _as_dead_letter(task_id: str) -> str:
    if len(task_id) < MIN_ID_PREFIX_LENGTH:
        return ""
    letter = DeadLetter.objects.filter(task_id__istartswith=task_id).first()
    return f". A worker could not process its message: it was {letter.summary}" if letter else ""


def _candidates(runs: list[Run]) -> str:
    lines = [
        f"  {run.pk}  {escaped(run.job)}  {run.status}  {formats.exact(run.queued_at)}"
        for run in runs[:MAX_CANDIDATES]
    ]
    return "\n".join([*lines, "  …"] if len(runs) > MAX_CANDIDATES else lines)
