"""Which schedules start after which: the stored links, by name.

A link to a schedule that does not exist keeps its name, and its follower is broken until there is such a
schedule again. So neither the order in which schedules are created nor a deletion drops a dependency.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobledger.models import DeclaredSchedule, Predecessor, SchedulePolicy
from jobledger.runs import django_internals
from jobledger.schedules.chains.cycles import cycle_in, path_of


def predecessors_of(schedule: PeriodicTask) -> Sequence[Predecessor]:
    """The links to the schedule's predecessors, by name. Prefetched ones are not read again."""
    if schedule.pk is None:
        return ()
    found: Iterable[Predecessor] = schedule.predecessors.all()
    if not django_internals.is_prefetched(schedule, "predecessors"):
        found = schedule.predecessors.select_related("schedule")
    return sorted(found, key=lambda link: link.current_name)


@dataclass(frozen=True, kw_only=True)
class Follower:
    """A schedule that starts after another one."""

    pk: int
    name: str


def followers(schedule_ids: Collection[int]) -> dict[int, list[Follower]]:
    """The schedules that start after each of these, by name."""
    found: dict[int, list[Follower]] = {}
    links = Predecessor.objects.filter(schedule__in=schedule_ids, follower__policy__after__gt="")
    rows = links.order_by("follower__name").values_list("schedule", "follower", "follower__name")
    for schedule_id, pk, name in rows:
        if schedule_id is not None:
            found.setdefault(schedule_id, []).append(Follower(pk=pk, name=name))
    return found


def chains() -> list[tuple[PeriodicTask, list[str]]]:
    """The enabled schedules that start after others, with the names of these, by name."""
    links = Predecessor.objects.filter(follower__policy__after__gt="", follower__enabled=True)
    found: dict[PeriodicTask, list[str]] = {}
    for link in links.select_related("follower__policy", "schedule"):
        found.setdefault(link.follower, []).append(link.current_name)
    return [(each, sorted(found[each])) for each in sorted(found, key=lambda each: each.name)]


def assign(follower_id: int, names: Collection[str], now: datetime) -> None:
    """Let the schedule start after those of these names; without names, after none."""
    if names:
        link_up(now, follower=follower_id)
    stored = Predecessor.objects.filter(follower=follower_id).select_related("schedule")
    known = {link.current_name: link for link in stored}
    gone = [link.pk for name, link in known.items() if name not in names]
    Predecessor.objects.filter(pk__in=gone).delete()
    new = [name for name in dict.fromkeys(names) if name not in known]
    schedules = {each.name: each for each in PeriodicTask.objects.filter(name__in=new)}
    Predecessor.objects.bulk_create(
        Predecessor(follower_id=follower_id, schedule=schedules.get(name), name=name, counted_until=now)
        for name in new
    )


def link_up(now: datetime, **waiting: Any) -> list[int]:
    """Link those that wait for a schedule of a name that one has now; returns the followers, to be synced.

    ``waiting`` limits which links are looked at.
    """
    links = list(Predecessor.objects.filter(schedule=None, **waiting))
    named = PeriodicTask.objects.filter(name__in={link.name for link in links})
    schedules = dict(named.values_list("name", "pk")) if links else {}
    found = [link for link in links if schedules.get(link.name) not in (None, link.follower_id)]
    for link in found:
        same = Predecessor.objects.filter(follower=link.follower_id, schedule=schedules[link.name])
        if same.exists():
            # A predecessor was given the name of one that is gone.
            link.delete()
        else:
            Predecessor.objects.filter(pk=link.pk).update(schedule=schedules[link.name], counted_until=now)
    return [link.follower_id for link in found]


def stored_edges() -> dict[str, list[str]]:
    """The names of all followers, with those of the schedules after which they start."""
    edges: dict[str, list[str]] = {}
    links = Predecessor.objects.filter(follower__policy__after__gt="").select_related("follower", "schedule")
    for link in links.order_by("follower__name", "name"):
        edges.setdefault(link.follower.name, []).append(link.current_name)
    return edges


def stored_cycle() -> list[str]:
    """The names along a cycle among the stored schedules; empty if there is none.

    To be called after a schedule was saved, in the same transaction: of two at a time, one then waits for the
    other, since both change django-celery-beat's time of the last change.
    """
    return cycle_in(stored_edges())


def cycle_with(name: str, after: Collection[str], *, replaces: str = "") -> str:
    """The path of the cycle that there would be if this schedule started after these; empty without one.

    ``replaces`` is its name so far, if it has been stored under another one.
    """
    if not after:
        return ""
    edges = renamed(stored_edges(), replaces, name) if replaces else stored_edges()
    return path_of(cycle_in({**edges, name: list(after)}, start=name))


def renamed(edges: Mapping[str, Sequence[str]], old: str, new: str) -> dict[str, list[str]]:
    """The same with another name for one of the schedules."""
    swap = {old: new}
    return {swap.get(name, name): [swap.get(each, each) for each in after] for name, after in edges.items()}


def stored_names(declared: Iterable[str]) -> dict[str, str]:
    """What the schedules of these names, as the code declares them, are called in the database."""
    wanted = list(declared)
    if not wanted:
        return {}
    records = DeclaredSchedule.objects.filter(name__in=wanted).select_related("schedule")
    return {record.name: record.schedule.name for record in records if record.schedule is not None}


def as_stored(declared: Collection[str]) -> list[str]:
    """The names of schedules in the database instead of those in the code, where these differ."""
    stored = stored_names(declared)
    return [stored.get(name, name) for name in declared]


def declared_names(schedule_ids: Iterable[int]) -> dict[int, str]:
    """What the code calls these schedules, as far as it declares them."""
    records = DeclaredSchedule.objects.filter(schedule__in=list(schedule_ids))
    return dict(records.values_list("schedule", "name"))


def starts_after_others(schedule: PeriodicTask) -> bool:
    """Whether it has predecessors instead of times."""
    return bool(SchedulePolicy.of(schedule).after)
