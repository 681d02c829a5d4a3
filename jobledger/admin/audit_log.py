"""The audit log: every action in the admin leaves a LogEntry, and every edit its old and new values.

The values are in the entry's message, beside what Django itself writes there, so that Django's own pages
show the entry as well.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model, QuerySet
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display
from jobledger.admin.rights import User

_FLAGS = {"added": ADDITION, "changed": CHANGE, "deleted": DELETION}


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one edit did to one value."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry as a schedule's history shows it."""

    user: str
    time: SafeString
    text: str
    changes: list[Change]
    is_new: bool
    """Whether the schedule was added then."""


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """The differences between two sets of readable values; a missing name has an empty value."""
    return [
        Change(name=name, old=old.get(name, ""), new=new.get(name, ""))
        for name in dict.fromkeys([*old, *new])
        if old.get(name, "") != new.get(name, "")
    ]


def log_edit(
    user: User, target: Model, changes: Sequence[Change], *, verb: str = "changed"
) -> list[LogEntry]:
    """Record that the user added, changed or deleted it. ``changes`` are readable, with secrets masked."""
    details: dict[str, dict[str, Any]] = {
        "added": {},
        "changed": {"fields": [change.name for change in changes]},
        "deleted": {"name": str(target._meta.verbose_name), "object": _name(target)[:200]},
    }
    values = [[change.name, change.old, change.new] for change in changes]
    return _write(user, [target], _FLAGS[verb], json.dumps([{verb: details[verb], "values": values}]))


def log_action(user: User, targets: Iterable[Model], text: str) -> None:
    """Record that the user did something else with them, such as cancelling or pausing."""
    _write(user, targets, CHANGE, text)


def changes_of(entry: LogEntry) -> list[Change]:
    """The old and new values of an entry, if it has any."""
    try:
        messages = json.loads(entry.change_message or "[]")
    except json.JSONDecodeError:
        return []
    if not isinstance(messages, list):
        return []
    values = [value for each in messages if isinstance(each, dict) for value in each.get("values", [])]
    return [Change(name=name, old=old, new=new) for name, old, new in values]


def entries_of(schedule: PeriodicTask) -> QuerySet[LogEntry]:
    """All entries of the schedule, the newest first."""
    content_type = ContentType.objects.get_for_model(PeriodicTask)
    return LogEntry.objects.filter(content_type=content_type, object_id=str(schedule.pk)).order_by("-pk")


def formatted(entries: Iterable[LogEntry], now: datetime) -> list[Entry]:
    """In the order given; their users should have been read together with them."""
    return [
        Entry(
            user=entry.user.get_username(),
            time=display.exactly_when(entry.action_time, now),
            text=entry.get_change_message(),
            changes=changes_of(entry),
            is_new=entry.is_addition(),
        )
        for entry in entries
    ]


def _write(user: User, targets: Iterable[Model], flag: int, message: str) -> list[LogEntry]:
    if user.pk is None:
        raise ValueError("an action without a user")
    return LogEntry.objects.bulk_create(
        LogEntry(
            user_id=user.pk,
            content_type=ContentType.objects.get_for_model(target, for_concrete_model=False),
            object_id=str(target.pk),
            object_repr=_name(target)[:200],
            action_flag=flag,
            change_message=message,
        )
        for target in targets
    )


def _name(target: Model) -> str:
    # A schedule's str() reads its times: a query for each, and an error if they cannot be read.
    return str(target.name if isinstance(target, PeriodicTask) else target)
