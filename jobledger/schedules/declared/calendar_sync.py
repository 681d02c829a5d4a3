"""Applies a declared calendar to the database, merged three ways like the fields of a schedule.

What only the code changed follows the code, what users edited stays, and what both changed is drift. A
calendar that users have deleted or renamed is created again, since schedules need it. One that is no longer
declared stays as it is.
"""

from collections.abc import Iterable

from django.db import transaction

from jobledger.models import Calendar
from jobledger.schedules import audit
from jobledger.schedules.declared.calendars import declared_calendars, normalized
from jobledger.schedules.declared.outcomes import ENTRIES, Action, Difference, Outcome

_AS_DECLARED = "as declared in code"


@transaction.atomic
def sync(name: str, entries: str, *, dry_run: bool = False, is_reset: bool = False) -> Outcome:
    """Apply one calendar; with ``is_reset``, whatever users have edited."""
    # As for schedules (`locking.locked`): an edit may be adding the calendar to one.
    stored = Calendar.objects.select_for_update(no_key=True).filter(name=name).first()
    if stored is None:
        if not dry_run:
            made = Calendar.objects.create(name=name, entries=entries, declared=entries)
            audit.log_added(made, _AS_DECLARED, {"Name": name, "Entries": entries})
        return _outcome(name, Action.CREATE)
    current = normalized(stored.entries)
    difference = Difference(field=ENTRIES, stored=_formatted(current), code=_formatted(entries))
    if current != entries and (is_reset or current == stored.declared):
        if not dry_run:
            _apply(stored, entries)
        return _outcome(name, Action.CHANGE, changes=[difference])
    if current == entries:
        if not dry_run and stored.declared != entries:
            Calendar.objects.filter(pk=stored.pk).update(declared=entries)
        return _outcome(name, Action.NONE)
    if entries == stored.declared:
        return _outcome(name, Action.NONE, edited=[difference])
    return _outcome(name, Action.NONE, drift=[difference])


def release_others() -> None:
    """Forget the declarations of calendars that the code no longer declares."""
    Calendar.objects.exclude(declared="").exclude(name__in=declared_calendars()).update(declared="")


def _apply(stored: Calendar, entries: str) -> None:
    change = ("Entries", stored.entries, entries)
    stored.entries = stored.declared = entries
    # Not a queryset update: the post_save signal plans the schedules that use it anew.
    stored.save()
    audit.log_edited(stored, _AS_DECLARED, [change])


def _outcome(
    name: str,
    action: Action,
    *,
    changes: Iterable[Difference] = (),
    edited: Iterable[Difference] = (),
    drift: Iterable[Difference] = (),
) -> Outcome:
    return Outcome(
        name=name,
        job="",
        action=action,
        stored_name=name,
        changes=tuple(changes),
        edited=tuple(edited),
        drift=tuple(drift),
    )


def _formatted(entries: str) -> str:
    """In one line."""
    return "; ".join(entries.splitlines())
