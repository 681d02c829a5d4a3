"""How far backfills have come."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from django.db.models import Count, Q
from django.utils import timezone

from jobledger.models import FAILURES, LIVE, SUCCESSES, Backfill, BackfillSlot, Run, Status
from jobledger.schedules.words import zone_of

WAITING, NOT_RUN = "waiting", "not run"
"""Slots without a run: those which will get one, and those of a backfill that is over."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many slots of a backfill have come how far."""

    counts: Counter[str]
    """By the status of their runs; without one, ``WAITING`` or ``NOT_RUN``.

    Skipped: a user has run it again meanwhile.
    """

    @property
    def total(self) -> int:
        return self.counts.total()

    @property
    def succeeded(self) -> int:
        return sum(self.counts[status] for status in SUCCESSES)

    @property
    def failed(self) -> int:
        return sum(self.counts[status] for status in FAILURES)

    @property
    def live(self) -> int:
        return sum(self.counts[status] for status in LIVE)

    @property
    def without_run(self) -> int:
        """How many have no run: yet, or, if the backfill is over, at all."""
        return self.counts[WAITING] + self.counts[NOT_RUN]

    @property
    def done(self) -> int:
        """How many need no run any more, however theirs has ended."""
        return self.total - self.live - self.without_run

    def __str__(self) -> str:
        """``12 of 30 done: 11 succeeded, 1 failed; 1 running, 17 waiting``, without what there is none of.

        Once it is over, what has no run is ``not run``.
        """
        ended = self._named(status for status in Status if status not in LIVE)
        others = ", ".join(filter(None, [self._named(reversed(LIVE)), self._named([WAITING, NOT_RUN])]))
        text = f"{self.done:,} of {self.total:,} done"
        return text + (f": {ended}" if ended else "") + (f"; {others}" if others else "")

    def _named(self, names: Iterable[str]) -> str:
        labels = {**dict(Status.choices), WAITING: WAITING, NOT_RUN: NOT_RUN}
        return ", ".join(
            f"{self.counts[name]:,} {labels[name]}" for name in map(str, names) if self.counts[name]
        )


def progress_of(backfills: Iterable[Backfill]) -> dict[int, Progress]:
    """The progress of each of them, as of now, by primary key."""
    without_run: dict[int, str] = {
        each.pk: NOT_RUN if starts_nothing(each) else WAITING for each in backfills
    }
    counts: dict[int, Counter[str]] = {pk: Counter() for pk in without_run}
    slots = BackfillSlot.objects.filter(backfill__in=list(counts)).order_by()
    is_open = Q(outcome="", run_id__isnull=False)
    grouped = slots.exclude(is_open).values_list("backfill", "outcome")
    for pk, outcome, count in grouped.annotate(count=Count("pk")):
        counts[pk][outcome or without_run[pk]] += count
    started = {slot.run_id: slot.backfill_id for slot in slots.filter(is_open) if slot.run_id}
    statuses = dict(Run.objects.filter(pk__in=list(started)).values_list("pk", "status"))
    for run_id, pk in started.items():
        counts[pk][statuses.get(run_id, Status.CANCELLED.value)] += 1
    return {pk: Progress(counts=found) for pk, found in counts.items()}


def starts_nothing(backfill: Backfill) -> bool:
    """Whether no more of its slots get a run: it has ended or was cancelled, or its schedule was deleted."""
    return backfill.ended_at is not None or backfill.cancelled_at is not None or backfill.schedule_id is None


def zone_of_backfill(backfill: Backfill) -> ZoneInfo:
    """The zone of its times: the schedule's or, once that was deleted, the project's."""
    return zone_of(backfill.schedule) if backfill.schedule else timezone.get_default_timezone()


def status_of(backfill: Backfill, progress: Progress) -> Status:
    """The backfill's own status: running, or how it has ended."""
    if backfill.ended_at is None:
        return Status.RUNNING
    if backfill.cancelled_at is not None or progress.without_run:
        return Status.CANCELLED
    if progress.failed:
        return Status.FAILED
    return Status.CANCELLED if progress.counts[Status.CANCELLED] else Status.SUCCEEDED
