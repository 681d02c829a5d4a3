"""Imports a file of schedules, and of the calendars that they use: all of it, or nothing.

Every schedule that differs is saved by the edit form, which validates it, locks it, plans it anew and adds an
entry to the audit log. One that does not differ is not touched, nor validated: it may refer to what does not
exist any more.

A schedule is that of the same name. If there is none, but one of another name with the same declaration in
code, it is that one, which is renamed.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from django.db import IntegrityError, transaction
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.admin import audit_log
from jobledger.admin.audit_log import Change
from jobledger.admin.rights import User
from jobledger.admin.schedules.deletion import delete_schedules
from jobledger.admin.schedules.editing.edit_form import ConflictError, EditForm
from jobledger.admin.schedules.snapshot import Snapshot, changes_between
from jobledger.admin.schedules.versions import calendars, filling, rules
from jobledger.jobs.secrets import MASK
from jobledger.models import Calendar, CalendarKind, DeclaredSchedule
from jobledger.schedules import locking
from jobledger.schedules.chains import links
from jobledger.schedules.chains.cycles import cycle_in, path_of
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
    Path,
    ScheduleFile,
)
from jobledger.schedules.documents.keys import DEFINITION_KEYS, KEYS, ORIGIN_KEYS, Document

DECLARED_AS = "declared_as"
_BATCH_SIZE = 500
_NOTHING: Mapping[str, str] = MappingProxyType({})
_TAKEN = (
    "this declaration belongs to the schedule {}: give that one this name, or delete it, or leave the key out"
)


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
            renamed = renamed_in(file)
            locking.lock_with_declarations(_affected(file, renamed, prune=prune))
            found = _Import(file, user, renamed=renamed).outcomes(prune=prune)
            transaction.set_rollback(dry_run)
    except (ConflictError, IntegrityError) as error:
        raise MeanwhileChangedError(str(error)) from error
    return found


def save_schedules(
    file: ScheduleFile,
    *,
    user: User,
    versions: Mapping[str, str] = _NOTHING,
    renamed: Mapping[str, str] = _NOTHING,
) -> list[Outcome]:
    """Save the schedules of the file, without a look at others. Raises as ``import_schedules``.

    ``versions`` are those of stored schedules that the user has seen, by name, and ``renamed`` are new names
    and the stored ones. An enabled schedule may have a single time that has passed only if it is stored
    already; in a file, it may come from another place.
    """
    try:
        with transaction.atomic():
            locking.lock_with_declarations(_affected(file, renamed))
            found = _Import(file, user, versions=versions, renamed=renamed, accepts_past=False)
            return found.outcomes_of_schedules()
    except (ConflictError, IntegrityError) as error:
        raise MeanwhileChangedError(str(error)) from error


def renamed_in(file: ScheduleFile) -> dict[str, str]:
    """The new names of schedules in the file, and the stored ones of the schedules that will get them.

    A stored schedule is renamed if the file has none of its name, but a new one with its declaration.
    """
    new = file.documents.keys() - set(_stored_among(file.documents))
    declared = {each: text for each in sorted(new) if (text := file.documents[each].get(DECLARED_AS))}
    records = DeclaredSchedule.objects.filter(name__in=declared.values(), schedule__isnull=False)
    stored = dict(records.values_list("name", "schedule__name"))
    found = {
        stored[text]: name
        for name, text in declared.items()
        if text in stored and stored[text] not in file.documents
    }
    return {new: old for old, new in found.items()}


def _stored_among(names: Iterable[str], field: str = "name") -> Iterator[Any]:
    """Those of these names that stored schedules have, or another field of these schedules."""
    rest = iter(names)
    while batch := list(islice(rest, _BATCH_SIZE)):
        yield from PeriodicTask.objects.filter(name__in=batch).values_list(field, flat=True)


def _affected(file: ScheduleFile, renamed: Mapping[str, str], *, prune: bool = False) -> Iterable[int]:
    """The ids of the stored schedules that may change. Edits of some of them may be waiting for others."""
    if prune:
        return [each.pk for each in PeriodicTask.objects.only("pk")]
    return _stored_among([*file.documents, *renamed.values()], "pk")


class _Import:
    """One import, within a transaction."""

    def __init__(
        self,
        file: ScheduleFile,
        user: User | str,
        *,
        versions: Mapping[str, str] = _NOTHING,
        renamed: Mapping[str, str] = _NOTHING,
        accepts_past: bool = True,
    ) -> None:
        """``renamed`` are new names, and the stored ones of the schedules that get them."""
        self._file, self._user, self._versions, self._renamed = file, user, versions, renamed
        self._accepts_past = accepts_past
        self._now = clock.now()
        self._stored = self._stored_documents()
        self._calendars = {each.name: each for each in Calendar.objects.all()}
        self._wrong_calendars = {name for name in file.calendars or {} if file.has_problem(CALENDARS, name)}
        self._problems = list(file.problems)

    def _stored_documents(self) -> dict[str, Document]:
        """By their names in the file; empty if what is stored is not valid."""
        found: dict[str, Document] = {}
        new_names = {old: new for new, old in self._renamed.items()}
        names = [*self._file.documents, *new_names]
        for start in range(0, len(names), _BATCH_SIZE):
            batch = PeriodicTask.objects.filter(name__in=names[start : start + _BATCH_SIZE])
            for name, each in all_documents(batch):
                document = {} if isinstance(each, NotRepresentableError) else each
                if after := document.get("after"):
                    # It is about schedules, whatever their names.
                    document = {**document, "after": sorted(new_names.get(one, one) for one in after)}
                found[new_names.get(name, name)] = document
        return found

    def outcomes(self, *, prune: bool) -> list[Outcome]:
        stored = PeriodicTask.objects.order_by("name").values_list("name", flat=True)
        kept = {*self._file.documents, *self._renamed.values()}
        others = [name for name in stored if name not in kept]
        if prune:
            # First, since their alert rules may be those of other schedules from now on.
            self._delete(others)
        of_calendars = list(self._save_calendars())
        action = Action.DELETE if prune else Action.KEEP
        found = self.outcomes_of_schedules()
        found += [Outcome(name=name, action=action) for name in others]
        of_calendars += self._other_calendars(prune=prune)
        by_name = attrgetter("name")
        return [*sorted(of_calendars, key=by_name), *sorted(found, key=by_name)]

    def outcomes_of_schedules(self) -> list[Outcome]:
        """Save the schedules of the file. Raises InvalidFileError if anything in it is not valid."""
        found = list(self._save_all())
        for cycle in self._cycles():
            self._add(cycle[0], [(("after",), f"it would start after itself: {path_of(cycle)}")])
        if self._problems:
            raise InvalidFileError(sorted(self._problems, key=lambda each: each.line or 0))
        return found

    def _cycles(self) -> Iterator[list[str]]:
        """The cycles that there would be, also with schedules that could not be saved."""
        documents = self._file.documents.items()
        edges = {**links.stored_edges(), **{name: list(each.get("after", ())) for name, each in documents}}
        while cycle := cycle_in(edges):
            yield cycle
            del edges[cycle[0]]

    def _save_calendars(self) -> Iterator[Outcome]:
        for name, document in (self._file.calendars or {}).items():
            stored = self._calendars.get(name)
            before = calendar_document(stored) if stored else {}
            if problems := calendars.save(self._user, name, document, stored):
                self._add(name, self._causes(CALENDARS, name, document, problems), CALENDARS)
                self._wrong_calendars.add(name)
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
        rows = self._rows()
        for name, document in changed.items():
            if name in rows:
                rules.delete_others(self._user, rows[name], document.get(rules.KEY, {}))
        # First those whose new names others refer to.
        for name in sorted(self._file.documents, key=lambda name: name not in self._renamed):
            if name in changed:
                yield self._save(name, changed[name], rows.get(name))
            else:
                yield Outcome(name=name, action=Action.NONE)

    def _rows(self) -> dict[str, PeriodicTask]:
        """The stored schedules by their names in the file."""
        names = [self._renamed.get(name, name) for name in self._stored]
        found = {each.name: each for each in PeriodicTask.objects.filter(name__in=names)}
        return {
            name: found[self._renamed.get(name, name)]
            for name in self._stored
            if self._renamed.get(name, name) in found
        }

    def _differs(self, name: str, document: Document) -> bool:
        if name not in self._stored or name in self._renamed:
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
            accepts_past=self._accepts_past or not document.get("enabled", True),
            version=seen,
            planned=self._file.documents,
        )
        problems = self._causes(SCHEDULES, name, document, self._wrong(name, document, form, stored))
        if problems or self._file.has_problem(SCHEDULES, name):
            problems += rules.problems(stored, document.get(rules.KEY, {}))
            self._add(name, problems)
            return Outcome(name=name, action=Action.NONE)
        after = form.snapshot_after_save()
        changes = changes_between(form.snapshot, after)
        schedule = stored if stored and not _differs(form, after) else form.save(self._user)
        self._add(name, rules.save(self._user, schedule, document.get(rules.KEY, {})))
        if stored is None and not rules.link_declaration(schedule, document.get(DECLARED_AS, "")):
            # It did not before.
            raise ConflictError("the declaration belongs to another schedule")
        found = complete_document_of(PeriodicTask.objects.get(pk=schedule.pk))
        differences = [*self._rename(name), *_differences(before, found), *_replaced_secrets(changes)]
        if schedule is not stored and not changes:
            # The edit form has no field for it.
            values = [Change(name=each.key, old=each.old, new=each.new) for each in differences]
            old, new = named(name, before), named(name, found)
            audit_log.log_edit(self._user, schedule, values, before=old, after=new)
        action = Action.ADD if stored is None else Action.CHANGE if differences else Action.NONE
        return Outcome(name=name, action=action, differences=differences)

    def _rename(self, name: str) -> Iterator[Difference]:
        if old := self._renamed.get(name):
            old_text, new_text = (json.dumps(each, ensure_ascii=False) for each in (old, name))
            yield Difference(key="name", old=old_text, new=new_text)

    def _wrong(
        self, name: str, document: Document, form: EditForm, stored: PeriodicTask | None
    ) -> Iterator[tuple[Path, str]]:
        missing = filling.missing_secrets(document, self._stored.get(name, {}))
        for path in missing:
            yield (
                path,
                "no secret is stored that the asterisks could stand for: write it here, or leave it out",
            )
        # The asterisks are not a value that could be judged.
        unknown = {path[0] for path in missing}
        if not self._wrong_calendars.isdisjoint(_calendars_of(document)):
            unknown |= {*CalendarKind, "left_out"}
        for path, text in filling.problems(name, document, form):
            if not path or path[0] not in unknown:
                yield path, text
        if stored is None and (owner := rules.owner_of(document.get(DECLARED_AS, ""))):
            yield (DECLARED_AS,), _TAKEN.format(json.dumps(owner, ensure_ascii=False))

    def _causes(
        self, kind: str, name: str, document: Document, problems: Iterable[tuple[Path, str]]
    ) -> list[tuple[Path, str]]:
        """The problems without those which may only follow from a wrong key: that something is missing."""
        is_complete = not self._file.has_problem(kind, name)
        return [(path, text) for path, text in problems if is_complete or (path and path[0] in document)]

    def _add(self, name: str, problems: Sequence[tuple[tuple[str, ...], str]], kind: str = SCHEDULES) -> None:
        self._problems += [self._file.problem((kind, name, *path), text) for path, text in problems]


def _calendars_of(document: Document) -> Iterator[str]:
    for kind in CalendarKind:
        yield from document.get(kind, ())


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
