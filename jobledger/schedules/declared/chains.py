"""Declared schedules that start after others: those must exist, and must not start after each other."""

from collections.abc import Collection
from datetime import datetime

from django_celery_beat.models import PeriodicTask

from jobledger.escapes import escaped
from jobledger.models import DeclaredSchedule
from jobledger.schedules import stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.chains.cycles import cycle_in, path_of
from jobledger.schedules.declared import DeclarationError, Declared
from jobledger.schedules.declared.merged import merged
from jobledger.schedules.stored_times import ChainTimes


def check_predecessors(found: Collection[Declared]) -> None:
    """Raise DeclarationError if one is to start after a schedule that does not exist."""
    named = {name: one for one in found for name in one.schedule.after}
    # One that is declared, but that a user has deleted, only breaks what starts after it.
    missing = named.keys() - {one.name for one in found}
    stored = PeriodicTask.objects.filter(name__in=missing).values_list("name", flat=True)
    known = set(stored) if missing else set()
    texts = [
        f"schedule {named[name].name!r} of job {named[name].job.name}: after: there is no schedule {name!r}"
        for name in sorted(missing)
        if name not in known
    ]
    if texts:
        raise DeclarationError("; ".join(map(escaped, texts)))


def check_cycles(found: Collection[Declared], *, reset: str = "") -> None:
    """Raise DeclarationError for a cycle that there would be once they are merged with users' edits."""
    if not any(one.schedule.after for one in found):
        return
    edges, renamed = links.stored_edges(), links.stored_names(one.name for one in found)
    for one in found:
        after = _after_merge(one, is_reset=one.name == reset)
        edges[renamed.get(one.name, one.name)] = [renamed.get(name, name) for name in after]
    if path := path_of(cycle_in(edges)):
        raise DeclarationError(escaped(f"after: schedules would start after each other: {path}"))


def _after_merge(one: Declared, *, is_reset: bool) -> Collection[str]:
    """After which schedules, by the names that the code has for them, it will start."""
    record = DeclaredSchedule.objects.filter(name=one.name).select_related("schedule").first()
    if is_reset or record is None or record.schedule is None:
        return one.schedule.after
    timing = merged(one, record, record.schedule).values.timing
    return timing.get("after", ()) if isinstance(timing, dict) else ()


def set_predecessors(schedule: PeriodicTask, now: datetime) -> None:
    """Store the links to the schedules after which this one starts, as its times say."""
    times = stored_schedules.of(schedule)
    links.assign(schedule.pk, times.after if isinstance(times, ChainTimes) else (), now)
