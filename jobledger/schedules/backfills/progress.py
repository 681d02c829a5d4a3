"""How far backfills have come."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Q

from jobledger.models import FAILURES, LIVE, SUCCESSES, Backfill, BackfillSlot, Run, Status

WAITING = "waiting"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many slots of a backfill have come how far."""

    counts: Counter[str]
    """By the status of their runs, or ``WAITING`` without one. Skipped: a user has run it again meanwhile."""

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
    def waiting(self) -> int:
        """How many have no run yet. Once the backfill is over, they will not get one."""
        return self.counts[WAITING]

    @property
    def done(self) -> int:
        """How many need no run any more, however theirs has ended."""
        return self.total - self.live - self.waiting

    def __str__(self) -> str:
        """``12 of 30 done: 11 succeeded, 1 failed; 1 running, 17 waiting``, without what there is none of."""
        ended = self._named(status for status in Status if status not in LIVE)
        others = ", ".join(filter(None, [self._named(reversed(LIVE)), self._named([WAITING])]))
        text = f"{self.done:,} of {self.total:,} done"
        return text + (f": {ended}" if ended else "") + (f"; {others}" if others else "")

    def _named(self, names: Iterable[str]) -> str:
        labels = {**dict(Status.choices), WAITING: WAITING}
        return ", ".join(
            f"{self.counts[name]:,} {labels[name]}" for name in map(str, names) if self.counts[name]
        )


def progress_of(backfills: Iterable[Backfill]) -> dict[int, Progress]:
    """The progress of each of them, as of now, by primary key."""
    counts: dict[int, Counter[str]] = {each.pk: Counter() for each in backfills}
    slots = BackfillSlot.objects.filter(backfill__in=list(counts)).order_by()
    is_open = Q(outcome="", run_id__isnull=False)
    grouped = slots.exclude(is_open).values_list("backfill", "outcome")
    for pk, outcome, count in grouped.annotate(count=Count("pk")):
        counts[pk][outcome or WAITING] += count
    started = {slot.run_id: slot.backfill_id for slot in slots.filter(is_open) if slot.run_id}
    statuses = dict(Run.objects.filter(pk__in=list(started)).values_list("pk", "status"))
    for run_id, pk in started.items():
        counts[pk][statuses.get(run_id, Status.CANCELLED.value)] += 1
    return {pk: Progress(counts=found) for pk, found in counts.items()}


def status_of(backfill: Backfill, progress: Progress) -> Status:
    """The backfill's own status: running, or how it has ended."""
    if backfill.ended_at is None:
        return Status.RUNNING
    if backfill.cancelled_at is not None or progress.waiting:
        return Status.CANCELLED
    if progress.failed:
        return Status.FAILED
    return Status.CANCELLED if progress.counts[Status.CANCELLED] else Status.SUCCEEDED
