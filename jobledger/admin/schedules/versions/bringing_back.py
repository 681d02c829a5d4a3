"""Brings back a version of a schedule from the audit log: an earlier one, or a deleted schedule.

The edit form saves it, so that it is validated, locked, planned and logged like any other edit. A deleted
schedule comes back with its primary key, so that its history goes on, its runs are its own again, and its
jitter is the same. What the log does not have is left out, and said: secrets, unless they are entered again
or still stored, and what the version refers to and does not exist any more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.db import IntegrityError, transaction
from django_celery_beat.models import PeriodicTask

from jobledger.admin.audit_log import Change
from jobledger.admin.rights import User
from jobledger.admin.schedules.editing.edit_form import ConflictError, EditForm
from jobledger.admin.schedules.versions import filling, rules
from jobledger.admin.schedules.versions.former_records import FormerRecords
from jobledger.models import AlertRule, AuditEntry, SchedulePolicy
from jobledger.schedules.documents import NotRepresentableError, document_of
from jobledger.schedules.documents.files import Path, path_text
from jobledger.schedules.documents.keys import Document

NAME = "name"
"""The key of a version that is not part of a document, where names are the keys."""
BEFORE, AFTER = "before", "after"
SECRET = "secret-"  # noqa: S105 - the prefix of the names of inputs


@dataclass(frozen=True, kw_only=True)
class SecretInput:
    """A secret that the audit log does not have, to be entered."""

    name: str
    label: str
    path: Path


class BringingBack:
    """A version, compared with the schedule as it is stored now, if it is."""

    def __init__(
        self,
        version: Mapping[str, Any],
        *,
        schedule_id: int,
        now: datetime,
        entered: Mapping[str, str] | None = None,
        seen: str | None = None,
    ) -> None:
        """``entered`` has the secrets by their inputs; ``seen`` is the stored version that was shown."""
        self.schedule_id = schedule_id
        self.stored = PeriodicTask.objects.select_related("policy").filter(pk=schedule_id).first()
        self.name = str(version[NAME])
        self._document = _without(version, NAME, *(("anchor",) if self.stored else ()))
        if after := version.get("after"):
            self._document["after"] = [_name_now(each) for each in after]
        self._entered, self._now, self._seen = entered or {}, now, seen

    @property
    def is_deleted(self) -> bool:
        return self.stored is None

    @cached_property
    def form(self) -> EditForm:
        secrets = {each.path: self._entered.get(each.name, "") for each in self.missing_secrets}
        document = filling.with_secrets(self._document, secrets)
        return filling.filled(
            self.name,
            document,
            stored=self.stored,
            now=self._now,
            # What is disabled is kept, not started.
            accepts_past=not document.get("enabled", True),
            version=self._seen,
        )

    @property
    def version(self) -> str:
        """That of the stored schedule."""
        return self.form.version

    @cached_property
    def missing_secrets(self) -> list[SecretInput]:
        """The secrets that are neither in the log nor stored."""
        paths = filling.missing_secrets(self._document, self._stored_document)
        return [
            SecretInput(name=f"{SECRET}{number}", label=path_text(path), path=path)
            for number, path in enumerate(paths)
        ]

    @cached_property
    def problems(self) -> list[str]:
        """Why it cannot be brought back."""
        found = filling.problems(self.name, self._document, self.form)
        return [f"{path_text(path)}: {text}" if path else text for path, text in found]

    @cached_property
    def changes(self) -> list[Change]:
        """What would change; empty if it is as stored, or cannot be brought back."""
        return [] if self.problems else self.form.changes()

    @cached_property
    def rules(self) -> dict[str, Document]:
        """The alert rules of a deleted schedule that come back with it. Those of a stored one stay."""
        return {name: rule for name, rule in self._rules() if name not in self._taken_rules}

    @cached_property
    def left_out(self) -> list[str]:
        """A sentence for everything of a deleted schedule that does not come back."""
        return list(self._left_out()) if self.is_deleted else []

    def _left_out(self) -> Iterator[str]:
        for name in self._taken_rules:
            yield f"Its alert rule “{name}”: there is another one of this name."
        for name in rules.missing_destinations({rules.KEY: dict(self._all_rules)}):
            yield f"The alert destination “{name}” of its alert rules: it does not exist any more."
        for backfill, waiting in self._former_records.unfinished_backfills():
            slots = "1 run" if waiting == 1 else f"{waiting} runs"
            yield f"The rest of its backfill {backfill.pk}, which ended with it: {slots}. Start another one."
        yield "Its pauses."

    def bring_back(self, user: User) -> PeriodicTask:
        """Save it. Raises ConflictError if the schedule has changed since it was shown."""
        if self.problems:
            raise ValueError("it is not valid")
        try:
            with transaction.atomic():
                return self._save(user)
        except IntegrityError as error:
            # Somebody else has brought it back, or has taken its name.
            raise ConflictError from error

    def _save(self, user: User) -> PeriodicTask:
        schedule = self.form.save(user, new_id=self.schedule_id)
        if self.is_deleted:
            rules.save(user, schedule, self.rules)
            rules.link_declaration(schedule, self._document.get("declared_as", ""))
            self._former_records.link(schedule)
        return schedule

    @cached_property
    def _former_records(self) -> FormerRecords:
        return FormerRecords(self.schedule_id)

    @property
    def _all_rules(self) -> Mapping[str, Document]:
        found: Mapping[str, Document] = self._document.get(rules.KEY, {})
        return found

    @cached_property
    def _taken_rules(self) -> list[str]:
        return sorted(AlertRule.objects.filter(name__in=self._all_rules).values_list("name", flat=True))

    def _rules(self) -> Iterator[tuple[str, Document]]:
        missing = rules.missing_destinations({rules.KEY: dict(self._all_rules)})
        for name, rule in self._all_rules.items() if self.is_deleted else ():
            names = [each for each in rule.get("destinations", []) if each not in missing]
            yield name, {**_without(rule, "destinations"), **({"destinations": names} if names else {})}

    @property
    def _stored_document(self) -> Document:
        if self.stored is None:
            return {}
        try:
            return document_of(self.stored, SchedulePolicy.of(self.stored))
        except NotRepresentableError:
            return {}


def versions_of(entry: AuditEntry, older: AuditEntry | None, current: Document | None) -> list[str]:
    """Which versions of an entry are worth to be brought back, if ``current`` is the stored one.

    The one after the change; and the one before, unless the older entry has it as well.
    """
    is_elsewhere = older is not None and older.after == entry.before
    known = {AFTER: entry.after, BEFORE: None if is_elsewhere else entry.before}
    return [which for which, version in known.items() if version and version != current]


def _name_now(name: str) -> str:
    """What the schedule that had this name is called now, unless another one has this name."""
    schedules = PeriodicTask.objects.all()
    if schedules.filter(name=name).exists():
        return name
    entries = AuditEntry.objects.filter(object_type=PeriodicTask._meta.label_lower, before__name=name)
    entry = entries.exclude(object_name=name).order_by("-pk").first()
    found = schedules.filter(pk=entry.object_id).first() if entry else None
    return str(found.name) if found else name


def _without(values: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
