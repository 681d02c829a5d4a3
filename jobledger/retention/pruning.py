"""Deletes the runs and other rows that nobody has to keep any longer: see ``limits`` for the runs.

It can be interrupted at any time, and continues the next time where it was: at the oldest row that may go.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import DO_NOTHING, PROTECT, RESTRICT, ForeignObjectRel, QuerySet

from jobledger.models import LIVE, Run
from jobledger.retention import records
from jobledger.retention.batches import PAGE, Bin, pages
from jobledger.retention.limits import FIELDS, JobLimits, OldRun, old_run

T = TypeVar("T")

FAMILIES = 50
"""Of how many callers the called runs are looked up at a time; there may be many of each."""
HOLDING = (PROTECT, RESTRICT, DO_NOTHING)
"""What a foreign key of a project's own models may say of the deletion of the run that it refers to."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """Rows of one kind that were deleted, or would be."""

    what: str
    count: int


class Pruning:
    """One pass over all that may be old."""

    def __init__(self, bin_: Bin, now: datetime, *, seconds: float | None = None) -> None:
        """Stop after so many seconds, if given, even if there is more to do."""
        self._bin, self._now = bin_, now
        self._ends_at = None if seconds is None else time.monotonic() + seconds
        self._limits_of = cache(lambda job: JobLimits(job, now))
        self.is_complete = True
        """Whether it has come to the end."""

    def runs(self) -> Iterator[Pruned]:
        """Prune the runs; yields for each job how many, and how many that they have called."""
        for job in each_job():
            counts = self._prune_job(job)
            for called, count in counts.items():
                by = "" if called == job else f" called by {job}"
                yield Pruned(what=f"runs of {called}{by}", count=count)

    def records(self) -> Iterator[Pruned]:
        """Prune everything else."""
        for kind in records.old_records(self._now):
            count = 0
            for page in self._in_time(pages(kind.rows, kind.time_field)):
                self._bin.discard(kind.rows.model, [pk for pk, _ in page])
                count += len(page)
            if count:
                yield Pruned(what=kind.name, count=count)

    def _prune_job(self, job: str) -> Counter[str]:
        """The number of runs by job: called ones go with their callers, or not at all."""
        limits, counts = self._limits_of(job), Counter[str]()
        if limits.queued_before is None:
            return counts
        rows = Run.objects.filter(job=job, queued_at__lt=limits.queued_before).exclude(status__in=LIVE)
        for page in self._in_time(pages(rows, *FIELDS[1:])):
            roots = [run for run in map(old_run, page) if run.parent_id is None and limits.may_go(run)]
            for runs in self._in_time(self._with_descendants(_not_held(roots))):
                self._bin.discard(Run, [run.pk for run in runs])
                counts.update(run.job for run in runs)
        return counts

    def _with_descendants(self, roots: Sequence[OldRun]) -> Iterator[Sequence[OldRun]]:
        """Whole families only, the youngest generation first; at most a page at a time."""
        callers = set(
            Run.objects.filter(parent__in=[root.pk for root in roots]).values_list("parent", flat=True)
        )
        yield [root for root in roots if root.pk not in callers]
        for some in _slices([root for root in roots if root.pk in callers], FAMILIES):
            yield from _slices(self._families(some), PAGE)

    def _families(self, roots: Sequence[OldRun]) -> list[OldRun]:
        """A family with a member that stays, stays."""
        families = {run.pk: [run] for run in roots}
        root_of, staying = {run.pk: run.pk for run in roots}, set[UUID]()
        generation: Sequence[UUID] = list(families)
        while generation:
            children = [run for some in _slices(generation, PAGE) for run in _children_of(some)]
            free = {run.pk for run in _not_held([run for run in children if self._may_go(run)])}
            for child in children:
                root = root_of[child.pk] = root_of[child.parent_id]  # type: ignore[index]
                families[root].append(child)
                if child.pk not in free:
                    staying.add(root)
            generation = [child.pk for child in children]
        return [run for root, family in families.items() if root not in staying for run in reversed(family)]

    def _may_go(self, run: OldRun) -> bool:
        return self._limits_of(run.job).may_go(run)

    def _in_time(self, found: Iterable[Any]) -> Iterator[Any]:
        for page in found:
            if self._ends_at is not None and time.monotonic() >= self._ends_at:
                self.is_complete = False
                return
            yield page


def _slices(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]


def each_job() -> Iterator[str]:
    """The names of all jobs that have runs, each found in the index without reading the runs between."""
    name: str | None = ""
    while (name := _names().filter(job__gt=name).first()) is not None:
        yield name


def _names() -> QuerySet[Run, str]:
    return Run.objects.order_by("job").values_list("job", flat=True)


def _children_of(parents: Sequence[UUID]) -> list[OldRun]:
    return [old_run(values) for values in Run.objects.filter(parent__in=parents).values_list(*FIELDS)]


def _not_held(runs: Sequence[OldRun]) -> list[OldRun]:
    """Those that no row of the project itself has to keep."""
    some = list(_slices(runs, PAGE))
    held = {pk for relation in _holding_relations() for page in some for pk in _referenced(relation, page)}
    return [run for run in runs if run.pk not in held]


def _holding_relations() -> list[ForeignObjectRel]:
    return [each for each in Run._meta.related_objects if getattr(each, "on_delete", None) in HOLDING]


def _referenced(relation: ForeignObjectRel, runs: Sequence[OldRun]) -> Iterable[UUID]:
    name, model = relation.field.name, relation.field.model
    rows = model._default_manager.filter(**{f"{name}__in": [run.pk for run in runs]})
    return rows.values_list(name, flat=True)
