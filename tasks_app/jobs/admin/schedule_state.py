"""How a schedule stands at a moment: on, off, paused, broken or over; its next slot and its last run."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, TextChoices
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import marks, moments, pause_words
from tasks_app.jobs.models import NextSlot, Pause, Run


@dataclass(frozen=True, kw_only=True)
class State:
    """What the page of a schedule says first."""

    mark: SafeString
    reason: str
    """Why it does not start by itself; empty where it does."""
    next_slot: SafeString
    shows_runs: bool
    """Whether they were asked for: not for who may not see runs."""
    last_run: Run | None
    last_mark: SafeString | None
    last_when: SafeString
    own_pause: Pause | None
    service_pause: Pause | None


def state_of(schedule: PeriodicTask, now: datetime, *, with_runs: bool) -> State:
    """At the moment; of runs only for who may see them."""
    row = NextSlot.objects.filter(pk=schedule.pk).first()
    pauses = Pause.objects.open_at(now).filter(Q(schedule=schedule.pk) | Q(schedule=None)).order_by("pk")
    own = next((pause for pause in pauses if pause.schedule_id is not None), None)
    service = next((pause for pause in pauses if pause.schedule_id is None), None)
    mark, reason = _mark(schedule, row, own, service)
    last = _last_run(schedule) if with_runs else None
    return State(
        mark=mark,
        reason=reason,
        next_slot=moments.both(row.slot if row else None, now),
        shows_runs=with_runs,
        last_run=last,
        last_mark=marks.of_status(last.status) if last else None,
        last_when=moments.when(last.queued_at if last else None, now),
        own_pause=own,
        service_pause=service,
    )


class Standing(TextChoices):
    """How a schedule stands, whether or not it is paused; named after the shapes in ``marks.svg``."""

    ON = "on", gettext_lazy("on")
    OFF = "off", gettext_lazy("off")
    BROKEN = "broken", gettext_lazy("broken")
    OVER = "over", gettext_lazy("over")

    @property
    def can_be_paused(self) -> bool:
        """Whether a pause says more of it than its standing does."""
        return self not in (Standing.OFF, Standing.BROKEN)


def standing_of(row: NextSlot | None, *, is_on: bool) -> Standing:
    """Judged by what beat has written about it; a schedule that beat has not seen yet is on."""
    if not is_on:
        return Standing.OFF
    if row is not None and row.broken:
        return Standing.BROKEN
    return Standing.OVER if row is not None and row.slot is None else Standing.ON


def paused_in_words(pause: Pause) -> str:
    """Until when, by whom and why."""
    return pause_words.told(pause.until, reason=pause.reason, who=pause.who)


def _last_run(schedule: PeriodicTask) -> Run | None:
    return Run.objects.filter(schedule=schedule.pk).order_by("-queued_at").defer("traceback").first()


def _mark(
    schedule: PeriodicTask, row: NextSlot | None, own: Pause | None, service: Pause | None
) -> tuple[SafeString, str]:
    match standing_of(row, is_on=schedule.enabled):
        case Standing.OFF:
            return marks.mark("off", _("switched off")), ""
        case Standing.BROKEN:
            return marks.mark("broken", _("broken")), row.broken if row else ""
        case _ if own is not None:
            return marks.mark("paused", _("paused")), paused_in_words(own)
        case _ if service is not None:
            return marks.mark("paused", _("the whole service is paused")), paused_in_words(service)
        case Standing.OVER:
            return marks.mark("over", _("over")), _("There is no slot to come.")
        case _:
            return marks.mark("on", _("switched on")), ""
