"""The calendars of stored schedules: sets them, and keeps the copies that beat reads.

``SchedulePolicy.calendars`` has all that planning needs, so that schedules without calendars cost nothing,
and those with some no further query. It is part of a schedule's ``timing``: beat takes an edited calendar for
an edit of the schedules that use it.
"""

from collections.abc import Collection, Iterable, Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from jobledger.calendars import use
from jobledger.jobs.declaration import LeftOutSlots
from jobledger.models import Calendar, CalendarKind, ScheduleCalendar, SchedulePolicy

BATCH = 500


def copy_of(not_on: Iterable[Calendar], only_on: Iterable[Calendar], left_out: str) -> str:
    """The copy of these calendars for a schedule; empty without any."""
    named = [[(each.name, each.entries) for each in calendars] for calendars in (not_on, only_on)]
    return use.text_of(*named, is_moved=left_out == LeftOutSlots.MOVE)


def assign(schedule_id: int, not_on: Iterable[Calendar], only_on: Iterable[Calendar]) -> None:
    """Set which calendars a schedule uses. The caller stores the copy, and syncs the schedule."""
    wanted = {each.pk: CalendarKind.ONLY_ON for each in only_on}
    wanted |= {each.pk: CalendarKind.NOT_ON for each in not_on}
    links = ScheduleCalendar.objects.filter(schedule=schedule_id)
    known = dict(links.values_list("calendar", "kind"))
    links.filter(calendar__in=[pk for pk, kind in known.items() if wanted.get(pk) != kind]).delete()
    ScheduleCalendar.objects.bulk_create(
        ScheduleCalendar(schedule_id=schedule_id, calendar_id=pk, kind=kind)
        for pk, kind in wanted.items()
        if known.get(pk) != kind
    )


def refresh(policies: QuerySet[SchedulePolicy]) -> set[int]:
    """Renew the copies of these policies that are out of date; returns their schedules, to be synced."""
    links = ScheduleCalendar.objects.filter(schedule=OuterRef("pk"))
    relevant = policies.filter(~Q(calendars="") | Exists(links)).only("pk", "calendars", "left_out")
    outdated = sorted(policy.pk for policy in _outdated(list(relevant)))
    for first in range(0, len(outdated), BATCH):
        with transaction.atomic():
            # Read again, since another one of their calendars may just have been changed.
            locked = SchedulePolicy.objects.filter(pk__in=outdated[first : first + BATCH]).order_by("pk")
            SchedulePolicy.objects.bulk_update(
                _outdated(list(locked.select_for_update(no_key=True))), ["calendars"]
            )
    return set(outdated)


def _outdated(policies: Sequence[SchedulePolicy]) -> list[SchedulePolicy]:
    """Those with another copy than they should have, which they get, but which is not saved."""
    if not policies:
        return []
    used, outdated = _used_by([policy.pk for policy in policies]), list[SchedulePolicy]()
    for policy in policies:
        not_on, only_on = used.get(policy.pk, ([], []))
        copy = copy_of(not_on, only_on, policy.left_out)
        if copy != policy.calendars:
            policy.calendars = copy
            outdated.append(policy)
    return outdated


def _used_by(schedule_ids: Collection[int]) -> dict[int, tuple[list[Calendar], list[Calendar]]]:
    """What each schedule leaves out, and to what it is limited."""
    found: dict[int, tuple[list[Calendar], list[Calendar]]] = {}
    links = ScheduleCalendar.objects.select_related("calendar")
    # There are few schedules with calendars, but databases limit the number of parameters.
    wanted = set(schedule_ids)
    for link in links.filter(schedule__gte=min(wanted), schedule__lte=max(wanted)):
        if link.schedule_id in wanted:
            not_on, only_on = found.setdefault(link.schedule_id, ([], []))
            (only_on if link.kind == CalendarKind.ONLY_ON else not_on).append(link.calendar)
    return found
