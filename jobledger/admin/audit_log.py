"""The audit log: an entry for every action in the admin, with the old and new values of every edit.

What ``jobledger sync`` and ``import_crontab`` change is added by ``schedules.audit``. Other commands call
this module.

Entries are stored in a separate table, and are kept when the users and objects they refer to are deleted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin.rights import User
from jobledger.admin_site import ReadOnly
from jobledger.models import (
    AlertDestination,
    AlertRule,
    ApiToken,
    AuditEntry,
    Backfill,
    Calendar,
    Feed,
    Pause,
    Run,
    Subscription,
)
from jobledger.schedules.documents.keys import Document

ADDED, CHANGED, DELETED = "added", "changed", "deleted"
_TYPES = {
    PeriodicTask._meta.label_lower: "schedule",
    Run._meta.label_lower: "run",
    Backfill._meta.label_lower: "backfill",
    Pause._meta.label_lower: "pause of the service",
    AlertDestination._meta.label_lower: "alert destination",
    AlertRule._meta.label_lower: "alert rule",
    Calendar._meta.label_lower: "calendar",
    ApiToken._meta.label_lower: "API token",
    Subscription._meta.label_lower: "subscription",
    Feed._meta.label_lower: "feed",
}
"""How types of objects are displayed."""


Versions = Mapping[Any, tuple[Document | None, Document | None]]
"""Documents of schedules before and after a change, by primary key."""


_token_name: ContextVar[Callable[[], str]] = ContextVar("jobledger_api_token", default=str)


@contextmanager
def by_token(name: Callable[[], str]) -> Iterator[None]:
    """Add the name of an API token, or none if it is empty, to the entries that are written meanwhile."""
    previous = _token_name.set(name)
    try:
        yield
    finally:
        _token_name.reset(previous)


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a single value."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry as shown in a history."""

    user: str
    time: SafeString
    text: str
    changes: list[Change]
    is_new: bool
    """Whether the entry records that the object was added."""
    id: int
    versions: Sequence[str] = ()
    """``before`` and ``after``, if the user may bring back these versions."""


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    """The differences between two sets of readable values. Missing values count as empty."""
    return [
        Change(name=name, old=old.get(name, ""), new=new.get(name, ""))
        for name in dict.fromkeys([*old, *new])
        if old.get(name, "") != new.get(name, "")
    ]


def log_edit(
    user: User | str,
    target: Model,
    changes: Sequence[Change],
    *,
    verb: str = CHANGED,
    before: Document | None = None,
    after: Document | None = None,
) -> list[AuditEntry]:
    """Log that the user added, changed or deleted the object. ``changes`` must have secrets masked.

    ``before`` and ``after`` are the documents of a schedule, which can be brought back.
    """
    names = ", ".join(change.name for change in changes)
    text = f"Changed {names}." if verb == CHANGED else f"{verb.capitalize()}."
    versions = {target.pk: (before, after)}
    return _write(user, [target], text, verb=verb, changes=changes, versions=versions)


def log_action(
    user: User | str, targets: Iterable[Model], text: str, *, versions: Versions | None = None
) -> None:
    """Log any other action on the objects, such as cancelling or pausing.

    ``versions`` are the documents before and after it of schedules that it has changed.
    """
    _write(user, targets, text, versions=versions or {})


def changes_of(entry: AuditEntry) -> list[Change]:
    """The old and new values of the entry, if any."""
    return [Change(name=name, old=old, new=new) for name, old, new in entry.changes]


def author_of(entry: AuditEntry) -> str:
    """The user, with the API token that was used."""
    return f"{entry.username} (API token {entry.token})" if entry.token else entry.username


def entries_of(target: Model) -> QuerySet[AuditEntry]:
    """All entries of the schedule or the run, the newest first."""
    return AuditEntry.objects.filter(object_type=_type(target), object_id=str(target.pk)).order_by("-pk")


def formatted(entries: Iterable[AuditEntry], now: datetime) -> list[Entry]:
    """The entries, formatted for display, in the given order."""
    return [
        Entry(
            user=author_of(entry),
            time=display.exactly_when(entry.time, now),
            text=entry.text,
            changes=changes_of(entry),
            is_new=entry.verb == ADDED,
            id=entry.pk,
        )
        for entry in entries
    ]


class AuditEntryAdmin(ReadOnly, ShownFiltersOnly):
    """The whole log, also of users and objects that are gone; to read only."""

    list_display = ("time", "author", "type", "object_name", "text")
    list_filter = ("time",)
    search_fields = ("username", "token", "object_name", "object_id")
    ordering = ("-pk",)
    show_full_result_count = False
    fields = ("time", "username", "token", "type", "object_id", "object_name", "text", "changes")
    readonly_fields = fields

    @admin.display(description="user name", ordering="username")
    def author(self, entry: AuditEntry) -> str:
        return author_of(entry)

    @admin.display(description="object type", ordering="object_type")
    def type(self, entry: AuditEntry) -> str:
        return _TYPES.get(entry.object_type, entry.object_type)


def _write(
    user: User | str,
    targets: Iterable[Model],
    text: str,
    *,
    verb: str = "",
    changes: Sequence[Change] = (),
    versions: Versions,
) -> list[AuditEntry]:
    """``user`` is a text if a command has made the change."""
    if not isinstance(user, str) and user.pk is None:
        raise ValueError("an action without a user")
    author = {"username": user} if isinstance(user, str) else _author(user)
    rows = [[change.name, change.old, change.new] for change in changes]
    return AuditEntry.objects.bulk_create(
        AuditEntry(
            object_type=_type(target),
            object_id=str(target.pk),
            object_name=_name(target)[:200],
            verb=verb,
            text=text,
            changes=rows,
            token=_token_name.get()(),
            **author,
            **dict(zip(("before", "after"), versions.get(target.pk, ()), strict=False)),
        )
        for target in targets
    )


def _author(user: Any) -> dict[str, Any]:
    return {"user_id": user.pk, "username": user.get_username()[:200]}


def _type(target: Model) -> str:
    return target._meta.label_lower


def _name(target: Model) -> str:
    # A schedule's str() reads its times: a query for each, and an error if they cannot be read.
    return str(target.name if isinstance(target, PeriodicTask) else target)
