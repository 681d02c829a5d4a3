"""Imports a file of schedules, and of the calendars that they use: all of it, or nothing.

Every schedule that differs is saved by the edit form, which validates it, locks it, plans it anew and adds an
entry to the audit log. One that does not differ is not touched, nor validated: it may refer to what does not
exist any more.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from types import MappingProxyType

from django.db import IntegrityError, transaction
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.admin import audit_log
from jobledger.admin.audit_log import Change
from jobledger.admin.rights import User
from jobledger.admin.schedules.deletion import delete_schedules
from jobledger.admin.schedules.edit_form import ConflictError, EditForm
from jobledger.admin.schedules.snapshot import Snapshot, changes_between
from jobledger.admin.schedules.versions import calendars, filling, rules
from jobledger.jobs.secrets import MASK
from jobledger.models import Calendar
from jobledger.schedules.chains import links
from jobledger.schedules.chains.cycles import path_of
from jobledger.schedules.documents import (
    NotRepresentableError,
    all_documents,
    calendar_document,
    complete_document_of,
    named,
)
from jobledger.schedules.documents.files import (
    CALENDARS,
    SCHEDULES,
    InvalidFileError,
    Problem,
    ScheduleFile,
)
from jobledger.schedules.documents.keys import DEFINITION_KEYS, KEYS, ORIGIN_KEYS, Document

_BATCH_SIZE = 500


class Action(StrEnum):
    """What an import does with a schedule."""

    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"
    NONE = "none"
    KEEP = "keep"
    """It is not in the file."""


ACTIONS = (Action.ADD, Action.CHANGE, Action.DELETE)
"""Those that change something."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The value of a key before and after; empty if it has its default. JSON, with secrets masked."""

    key: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the import did, or would do, with a schedule or a calendar."""

    name: str
    action: Action
    differences: Sequence[Difference] = ()
    is_calendar: bool = False


class MeanwhileChangedError(Exception):
    """Somebody else has changed a schedule during the import."""


def import_schedules(
    file: ScheduleFile, *, user: User | str, prune: bool = False, dry_run: bool = False
) -> list[Outcome]:
    """Make the stored schedules those of the file; returns an outcome for each, by name, calendars first.

    With ``prune``, schedules that are not in the file are deleted, and so are calendars that nothing uses,
    unless the file says nothing about calendars. A dry run does all of it, and rolls it back. Raises
    InvalidFileError or MeanwhileChangedError, without any change.
    """
    try:
        with transaction.atomic():
            found = _Import(file, user).outcomes(prune=prune)
            transaction.set_rollback(dry_run)
    except (ConflictError, IntegrityError) as error:
        raise MeanwhileChangedError(str(error)) from error
    return found


def save_schedules(
    file: ScheduleFile, *, user: User, versions: Mapping[str, str] | None = None
) -> list[Outcome]:
    """Save the schedules of the file, without a look at others. Raises as ``import_schedules``.

    ``versions`` are those of stored schedules that the user has seen, by name.
    """
    try:
        with transaction.atomic():
            return _Import(file, user, versions or {}).outcomes_of_schedules()
    except (ConflictError, IntegrityError) as error:
        raise MeanwhileChangedError(str(error)) from error


class _Import:
    """One import, within a transaction."""

    def __init__(
        self, file: ScheduleFile, user: User | str, versions: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._file, self._user, self._versions = file, user, versions
        self._now = clock.now()
        stored: dict[str, Document | NotRepresentableError] = {}
        names = list(file.documents)
        for start in range(0, len(names), _BATCH_SIZE):
            batch = PeriodicTask.objects.filter(name__in=names[start : start + _BATCH_SIZE])
            stored |= all_documents(batch)
        self._is_stored = stored.keys()
        self._stored: dict[str, Document] = {
            name: {} if isinstance(each, NotRepresentableError) else each for name, each in stored.items()
        }
        self._calendars = {each.name: each for each in Calendar.objects.all()}
        self._problems: list[Problem] = []

    def outcomes(self, *, prune: bool) -> list[Outcome]:
        stored = PeriodicTask.objects.order_by("name").values_list("name", flat=True)
        others = [name for name in stored if name not in self._file.documents]
        if prune:
            # First, since their alert rules may be those of other schedules from now on.
            self._delete(others)
        of_calendars = list(self._save_calendars())
        action = Action.DELETE if prune else Action.KEEP
        # Before all the rest, if a schedule cannot be saved because a calendar was not.
        found = self.outcomes_of_schedules()
        found += [Outcome(name=name, action=action) for name in others]
        of_calendars += self._other_calendars(prune=prune)
        by_name = attrgetter("name")
        return [*sorted(of_calendars, key=by_name), *sorted(found, key=by_name)]

    def outcomes_of_schedules(self) -> list[Outcome]:
        """Save the schedules of the file. Raises InvalidFileError if anything in it is not valid."""
        found = [] if self._problems else list(self._save_all())
        if not self._problems and (cycle := links.stored_cycle()):
            self._add(cycle[0], [(("after",), f"it would start after itself: {path_of(cycle)}")])
        if self._problems:
            raise InvalidFileError(sorted(self._problems, key=lambda each: each.line or 0))
        return found

    def _save_calendars(self) -> Iterator[Outcome]:
        for name, document in (self._file.calendars or {}).items():
            stored = self._calendars.get(name)
            before = calendar_document(stored) if stored else {}
            if problems := calendars.save(self._user, name, document, stored):
                self._add(name, problems, CALENDARS)
                continue
            after = calendar_document(Calendar.objects.get(name=name))
            differences = list(_differences(before, after, DEFINITION_KEYS))
            action = Action.ADD if stored is None else Action.CHANGE if differences else Action.NONE
            yield Outcome(name=name, action=action, differences=differences, is_calendar=True)

    def _other_calendars(self, *, prune: bool) -> Iterator[Outcome]:
        """Those that are not in the file, once the schedules are as in the file."""
        if self._file.calendars is None:
            return
        others = [name for name in self._calendars if name not in self._file.calendars]
        deleted = calendars.delete_unused(self._user, others) if prune else []
        for name in others:
            action = Action.DELETE if name in deleted else Action.KEEP
            yield Outcome(name=name, action=action, is_calendar=True)

    def _delete(self, names: Collection[str]) -> None:
        ids = list(PeriodicTask.objects.filter(name__in=names).values_list("pk", flat=True))
        for start in range(0, len(ids), _BATCH_SIZE):
            batch = PeriodicTask.objects.filter(pk__in=ids[start : start + _BATCH_SIZE])
            delete_schedules(self._user, list(batch))

    def _save_all(self) -> Iterator[Outcome]:
        changed = {name: each for name, each in self._file.documents.items() if self._differs(name, each)}
        rows = {each.name: each for each in PeriodicTask.objects.filter(name__in=self._is_stored)}
        for name, document in changed.items():
            if name in rows:
                rules.delete_others(self._user, rows[name], document.get(rules.KEY, {}))
        for name, document in self._file.documents.items():
            if name in changed:
                yield self._save(name, document, rows.get(name))
            else:
                yield Outcome(name=name, action=Action.NONE)

    def _differs(self, name: str, document: Document) -> bool:
        if name not in self._is_stored:
            return True
        return _without_origin(self._stored[name]) != _without_origin(document)

    def _save(self, name: str, document: Document, stored: PeriodicTask | None) -> Outcome:
        before = self._stored.get(name, {})
        seen = self._versions.get(name)
        form = filling.filled(
            name,
            document,
            stored=stored,
            now=self._now,
            accepts_past=True,
            version=seen,
            planned=self._file.documents,
        )
        if problems := list(self._wrong(name, document, form, before)):
            self._problems += problems
            return Outcome(name=name, action=Action.NONE)
        after = form.snapshot_after_save()
        changes = changes_between(form.snapshot, after)
        schedule = stored if stored and not _differs(form, after) else form.save(self._user)
        self._add(name, rules.save(self._user, schedule, document.get(rules.KEY, {})))
        if stored is None and not rules.link_declaration(schedule, document.get("declared_as", "")):
            self._add(name, [(("declared_as",), "this declaration belongs to another schedule")])
        found = complete_document_of(PeriodicTask.objects.get(pk=schedule.pk))
        differences = [*_differences(before, found), *_replaced_secrets(changes)]
        if schedule is not stored and not changes:
            # The edit form has no field for it.
            values = [Change(name=each.key, old=each.old, new=each.new) for each in differences]
            old, new = named(name, before), named(name, found)
            audit_log.log_edit(self._user, schedule, values, before=old, after=new)
        action = Action.ADD if stored is None else Action.CHANGE if differences else Action.NONE
        return Outcome(name=name, action=action, differences=differences)

    def _wrong(self, name: str, document: Document, form: EditForm, before: Document) -> Iterator[Problem]:
        for path in filling.missing_secrets(document, before):
            text = "no secret is stored that the asterisks could stand for: write it here, or leave it out"
            yield self._file.problem((SCHEDULES, name, *path), text)
            return
        for path, text in filling.problems(name, document, form):
            yield self._file.problem((SCHEDULES, name, *path), text)

    def _add(self, name: str, problems: Sequence[tuple[tuple[str, ...], str]], kind: str = SCHEDULES) -> None:
        self._problems += [self._file.problem((kind, name, *path), text) for path, text in problems]


def _without_origin(document: Document) -> Document:
    """A stored schedule keeps its origin, whatever the file says."""
    return {name: value for name, value in document.items() if name not in ORIGIN_KEYS}


def _differs(form: EditForm, after: Snapshot) -> bool:
    policy, stored = form.policy.instance, form.stored_policy
    are_same = (policy.anchor, policy.dialect) == (stored.anchor, stored.dialect)
    return after.version != form.version or not are_same


def _differences(old: Document, new: Document, keys: Iterable[str] = KEYS) -> Iterator[Difference]:
    for key in keys:
        if old.get(key) != new.get(key):
            yield Difference(key=key, old=_shown(old, key), new=_shown(new, key))


def _replaced_secrets(changes: Sequence[Change]) -> Iterator[Difference]:
    for each in changes:
        if each.old == MASK and each.new != MASK and each.new:
            yield Difference(key=each.name, old=each.old, new=each.new)


def _shown(document: Document, key: str) -> str:
    return json.dumps(document[key], ensure_ascii=False, sort_keys=True) if key in document else ""
