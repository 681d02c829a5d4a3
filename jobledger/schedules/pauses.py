"""The pauses that concern some schedules, as planning takes them, read with one query."""

from collections.abc import Collection
from datetime import datetime

from jobledger.models import Pause
from jobledger.schedules.planning import policy


class PauseBook:
    """Each schedule's own pauses and those of the whole service."""

    def __init__(self, schedule_ids: Collection[int], since: datetime) -> None:
        """Those of these schedules that reach beyond the moment."""
        # Pauses are few: they are sorted out here, not by a list of ids that may outgrow a statement.
        concerned = {None, *schedule_ids}
        self._pauses: dict[int | None, list[policy.Pause]] = {}
        for row in Pause.objects.reaching_beyond(since):
            if row.schedule_id in concerned:
                self._pauses.setdefault(row.schedule_id, []).append(_planned_pause(row))

    def of(self, schedule_id: int) -> list[policy.Pause]:
        """One schedule's pauses and the whole service's."""
        return [*self._pauses.get(schedule_id, ()), *self._pauses.get(None, ())]


def _planned_pause(row: Pause) -> policy.Pause:
    return policy.Pause(
        since=row.since,
        until=row.until,
        reason=row.reason,
        person=row.who,
        on_resume=policy.PausedSlots(row.on_resume),
        pause_id=row.pk,
        is_service_wide=row.schedule_id is None,
    )
