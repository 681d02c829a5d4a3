"""The calendars of a file of schedules, which are saved before the schedules that use them."""

from collections.abc import Collection, Iterator

from django.contrib import admin

from jobledger.admin import audit_log
from jobledger.admin.calendars import CalendarAdmin, CalendarForm
from jobledger.admin.rights import User
from jobledger.models import Calendar
from jobledger.schedules.documents import calendar_document
from jobledger.schedules.documents.files import Path
from jobledger.schedules.documents.keys import DEFINITION_KEYS, Document


def save(user: User | str, name: str, document: Document, stored: Calendar | None) -> list[tuple[Path, str]]:
    """Save a calendar, if it differs; returns what is wrong with it, by the keys of its document."""
    if stored is not None and calendar_document(stored) == document:
        return []
    form = CalendarForm(
        {
            "name": name,
            "description": document.get("description", ""),
            "entries": "\n".join(document.get("entries", [])),
        },
        instance=Calendar.objects.get(pk=stored.pk) if stored else None,
    )
    if problems := list(_problems(name, form)):
        return problems
    saved = form.save()
    changes = audit_log.differences(_admin().readable(stored) if stored else {}, _admin().readable(saved))
    if changes:  # otherwise, it was only written differently
        audit_log.log_edit(user, saved, changes, verb=audit_log.CHANGED if stored else audit_log.ADDED)
    return []


def delete_unused(user: User | str, names: Collection[str]) -> list[str]:
    """Delete those of these calendars that no schedule uses; returns their names."""
    unused = list(Calendar.objects.filter(name__in=names, schedules=None))
    for each in unused:
        _admin().log_own_deletion(user, each)
        each.delete()
    return [each.name for each in unused]


def _problems(name: str, form: CalendarForm) -> Iterator[tuple[Path, str]]:
    if name != name.strip():
        yield (), "a name must not begin or end with whitespace"
    for field, texts in form.errors.items():
        yield from (((field,) if field in DEFINITION_KEYS else (), str(text)) for text in texts)


def _admin() -> CalendarAdmin:
    return CalendarAdmin(Calendar, admin.site)
