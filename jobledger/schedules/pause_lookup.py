"""The stored pauses, as planning needs them."""

from collections.abc import Collection, Iterable
from datetime import datetime

from jobledger.jobs import registry
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Pause
from jobledger.schedules.planning.policy import PausePeriod


class PauseLookup:
    """The pauses of some schedules and of the whole service, read with one query at most."""

    def __init__(
        self, schedule_ids: Collection[int], since: datetime, *, rows: Iterable[Pause] | None = None
    ) -> None:
        """Read the pauses that end after ``since``, unless they are known to be these ``rows``."""
        # There are few pauses. A query by id would need a parameter per schedule, which databases limit.
        wanted = {None, *schedule_ids}
        self._pauses: dict[int | None, list[PausePeriod]] = {}
        for row in Pause.objects.ending_after(since) if rows is None else rows:
            if row.schedule_id in wanted:
                self._pauses.setdefault(row.schedule_id, []).append(_pause_period(row))

    def of(self, schedule_id: int, task: str) -> list[PausePeriod]:
        """The pauses of the schedule, and those of the whole service, unless its job is exempt from them."""
        of_service = () if registry.runs_while_paused(task) else self._pauses.get(None, ())
        return [*self._pauses.get(schedule_id, ()), *of_service]


def _on_resume(stored: str) -> PausedSlots:
    """What nobody knows starts nothing."""
    try:
        return PausedSlots(stored)
    except ValueError:
        return PausedSlots.SKIP


def _pause_period(row: Pause) -> PausePeriod:
    return PausePeriod(
        since=row.since,
        until=row.until,
        reason=row.reason,
        user=row.username,
        on_resume=_on_resume(row.on_resume),
        pause_id=row.pk,
        is_service_wide=row.schedule_id is None,
    )
