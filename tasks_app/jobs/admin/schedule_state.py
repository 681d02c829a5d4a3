"""How a schedule stands at a moment: on, off, paused, broken or over; its next slot and its last run."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import marks, moments
from tasks_app.jobs.models import NextSlot, Pause, Run


@dataclass(frozen=True, kw_only=True)
class State:
    """What the page of a schedule says first."""

    mark: SafeString
    reason: str
    """Why it does not start by itself; empty where it does."""
    next_slot: SafeString
    last_run: Run | None
    last_mark: SafeString | None
    last_when: SafeString
    own_pause: Pause | None
    service_pause: Pause | None


def state_of(schedule: PeriodicTask, now: datetime) -> State:
    """At the moment."""
    row = NextSlot.objects.filter(pk=schedule.pk).first()
    pauses = Pause.objects.open_at(now).filter(Q(schedule=schedule.pk) | Q(schedule=None)).order_by("pk")
    own = next((pause for pause in pauses if pause.schedule_id is not None), None)
    service = next((pause for pause in pauses if pause.schedule_id is None), None)
    mark, reason = _mark(schedule, row, own, service)
    last = Run.objects.filter(schedule=schedule.pk).order_by("-queued_at").defer("traceback").first()
    return State(
        mark=mark,
        reason=reason,
        next_slot=moments.both(row.slot if row else None, now),
        last_run=last,
        last_mark=marks.of_status(last.status) if last else None,
        last_when=moments.when(last.queued_at if last else None, now),
        own_pause=own,
        service_pause=service,
    )


def paused_in_words(pause: Pause) -> str:
    """Until when, by whom and why."""
    until = _("until somebody resumes it")
    if pause.until is not None:
        until = _("until %(moment)s") % {"moment": moments.exact(pause.until)}
    by_whom = _(", by %(who)s") % {"who": pause.who} if pause.who else ""
    return f"{until}{by_whom}" + (f": {pause.reason}" if pause.reason else "")


def _mark(
    schedule: PeriodicTask, row: NextSlot | None, own: Pause | None, service: Pause | None
) -> tuple[SafeString, str]:
    if not schedule.enabled:
        return marks.mark("off", _("switched off")), ""
    if row is not None and row.broken:
        return marks.mark("broken", _("broken")), row.broken
    if own is not None:
        return marks.mark("paused", _("paused")), paused_in_words(own)
    if service is not None:
        return marks.mark("paused", _("the whole service is paused")), paused_in_words(service)
    if row is not None and row.slot is None:
        return marks.mark("off", _("over")), _("There is no slot to come.")
    return marks.mark("on", _("switched on")), ""
