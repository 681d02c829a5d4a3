"""The edit form of a schedule: several forms that are validated, previewed and saved together.

Edits use optimistic locking. The form includes the version of the schedule that the page showed, and is
saved only if the schedule still has this version. Otherwise, the other user's changes are shown, not
overwritten. Saving is a single transaction that locks the schedule's row and adds an entry to the audit log;
the new timing and policy take effect in the ledger together.
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.forms.boundfield import BoundField
from django.utils import timezone
from django.utils.functional import cached_property
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.audit_log import Change, Entry
from jobledger.admin.fields import number_in
from jobledger.admin.rights import User
from jobledger.admin.schedules.editing.calendars_form import CalendarsForm
from jobledger.admin.schedules.editing.forms import DELIVERY, VALIDITY, DetailsForm, TimesForm
from jobledger.admin.schedules.editing.policy_form import PolicyForm
from jobledger.admin.schedules.editing.target import TargetForm, selected_job, stored_target
from jobledger.admin.schedules.snapshot import Snapshot, changes_between, snapshot_of
from jobledger.jobs import json_text, registry
from jobledger.models import Pause, SchedulePolicy
from jobledger.schedules import locking, stored_schedules, stored_times
from jobledger.schedules.chains import links
from jobledger.schedules.forecasts.preview import Preview, preview
from jobledger.schedules.pause_lookup import PauseLookup
from jobledger.schedules.rules.slots import RuleError, Window
from jobledger.schedules.stored_policies import policy_from
from jobledger.schedules.stored_schedules import (
    StoredSchedule,
    Times,
    stored_schedule,
)
from jobledger.schedules.stored_times import ChainTimes, CronTimes, after_of

_NOT_IN_POLICY_FORM = ("dialect", "calendars", "left_out", "after")
VERSION, SEEN = "version", "seen"
MAX_NAMES_COMPARED = 1000
"""Among how many names a similar one is looked for."""


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Another user saved the schedule first."""

    entries: list[Entry]
    """The changes made in the admin since the form was opened; empty if they were made elsewhere."""
    changes: list[Change]
    """The changes that saving this form would make."""


class ConflictError(Exception):
    """The schedule has changed since the form was opened."""


class NameTakenError(ConflictError):
    """Another schedule was given the name since the form was validated."""


class EditForm:
    """The forms of a new or stored schedule."""

    def __init__(
        self,
        data: Any = None,
        *,
        stored: PeriodicTask | None = None,
        now: datetime,
        job_name: str = "",
        accepts_past: bool = False,
        planned: Collection[str] | None = None,
    ) -> None:
        """``data`` is the submitted data, if any; ``job_name`` preselects the job of a new schedule.

        ``accepts_past`` is that of the form for the timing. ``planned`` are the names of schedules that are
        saved together with this one by a caller who then checks that they do not start after each other.
        """
        self.stored, self.now, self._planned = stored, now, planned
        self.stored_policy = SchedulePolicy.of(stored) if stored else _new_policy(now)
        # The forms modify copies, which are then compared with the stored values.
        edited = PeriodicTask() if stored is None else copy.copy(stored)
        self.details = DetailsForm(data, instance=edited, label_suffix="")
        if self.stored_policy.after:
            # Only because django-celery-beat requires it.
            self.details.initial["one_off"] = False
        self._job = selected_job(data, stored_target(stored), job_name)
        self.policy = PolicyForm(data, instance=copy.copy(self.stored_policy), job=self._job)
        self.times = TimesForm(
            data,
            stored=_times_of(stored),
            anchor=self._anchor(),
            now=now,
            accepts_past=accepts_past,
            problem_with_after=self._problem_with_after,
        )
        self.calendars = CalendarsForm(data, policy=self.stored_policy)
        self._data, self._job_name = data, job_name

    @cached_property
    def target(self) -> TargetForm:
        """Created on demand, because the preview does not need it."""
        return TargetForm(self._data, stored=stored_target(self.stored), job_name=self._job_name)

    @cached_property
    def snapshot(self) -> Snapshot | None:
        return snapshot_of(self.stored, self.stored_policy) if self.stored else None

    @cached_property
    def pauses(self) -> list[Pause]:
        """All pauses that have not ended, of whatever schedule."""
        return list(Pause.objects.ending_after(self.now).order_by("pk"))

    @property
    def version(self) -> str:
        """The version of the stored schedule."""
        return self.snapshot.version if self.snapshot else ""

    @property
    def newest_entry(self) -> int:
        """The primary key of the newest entry in the audit log; 0 if there is none."""
        if self.stored is None:
            return 0
        return audit_log.entries_of(self.stored).values_list("pk", flat=True).first() or 0

    @property
    def opened_version(self) -> str:
        """The version when the page was opened, which is submitted with the form."""
        return self._data.get(VERSION, "") if self.is_posted else self.version

    @property
    def opened_entry(self) -> int:
        """The newest entry in the audit log when the page was opened."""
        if not self.is_posted:
            return self.newest_entry
        return number_in(self._data.get(SEEN, "")) or 0

    @property
    def is_posted(self) -> bool:
        return self._data is not None

    @property
    def delivery(self) -> list[BoundField]:
        """The fields for Celery delivery, which few schedules need."""
        return [self.details[name] for name in DELIVERY]

    @property
    def has_delivery(self) -> bool:
        """Whether any of them is filled in."""
        return any(field.errors or field.value() not in (None, "", "{}") for field in self.delivery)

    @property
    def has_validity(self) -> bool:
        """Whether a start or end time is set."""
        fields = [self.details[name] for name in VALIDITY]
        return any(field.errors or field.value() for field in fields)

    @property
    def zone_name(self) -> str:
        """The time zone of input without an offset."""
        return timezone.get_current_timezone_name()

    @property
    def time_errors(self) -> list[str]:
        """The errors that prevent a preview."""
        forms = (self.times, self.policy, self.calendars)
        error_lists = [errors for form in forms for errors in form.errors.values()]
        error_lists += [self.details.errors[name] for name in VALIDITY if name in self.details.errors]
        return [str(error) for errors in error_lists for error in errors]

    @cached_property
    def is_valid(self) -> bool:
        """Whether the form can be saved. Validates every form, so that all errors are shown at once."""
        forms = (self.details, self.policy, self.times, self.target, self.calendars)
        results = [form.is_valid() for form in forms]
        results.append(self.posted_times is not None)
        if not all(results):
            self.policy.ask_for_secrets_again()
        return all(results)

    @property
    def posted_times(self) -> Times | None:
        """The timing and policy in the forms; None while they are not valid."""
        are_valid = self.policy.is_valid() and self.times.is_valid() and self.calendars.is_valid()
        if not are_valid or self._has_validity_errors or self.times.rule is None:
            return None
        data = self.details.cleaned_data
        is_chained = isinstance(self.times.times, ChainTimes)
        is_once = not is_chained and (bool(data.get("one_off")) or self.times.is_once)
        window = Window(start_time=data.get("start_time"), expires=data.get("expires"), one_off=is_once)
        policy = policy_from(self.policy.instance)
        times = Times(
            rule=self.times.rule,
            window=window,
            policy=policy,
            enabled=bool(data.get("enabled")),
            calendars=self.calendars.use,
        )
        try:
            _ = times.due_rule
        except RuleError as error:
            self.calendars.refuse_moving(str(error))
            return None
        return times

    @cached_property
    def stored_schedule(self) -> StoredSchedule | None:
        """The stored schedule; None if it cannot be evaluated."""
        return stored_schedule(self.stored) if self.stored else None

    @cached_property
    def times_after_save(self) -> Times | None:
        """None while the timing is not valid."""
        as_stored = self.stored_schedule.times if self.stored_schedule else None
        return self.posted_times if self.is_posted else as_stored

    def preview(self) -> Preview | None:
        """The effects of saving; None while the timing is not valid."""
        if self.times_after_save is None:
            return None
        schedule_id = self.stored.pk if self.stored else 0
        task = self._job.task_name if self._job else ""
        pauses = PauseLookup([schedule_id], self.now, rows=self.pauses).of(schedule_id, task)
        try:
            return preview(self.times_after_save, now=self.now, old=self.stored_schedule, pauses=pauses)
        except RuleError:
            return None

    def save(self, user: User | str, *, new_id: int | None = None) -> PeriodicTask:
        """Save the valid form. Raises ConflictError without saving anything if the schedule has changed.

        A new schedule gets the primary key ``new_id``, if given.
        """
        try:
            with transaction.atomic():
                return self._save(user, new_id)
        except (IntegrityError, ValidationError) as error:
            # django-celery-beat's model validates the name as well, if it is not too early for that.
            if self.details.is_name_taken:
                raise NameTakenError from error
            raise

    def _save(self, user: User | str, new_id: int | None) -> PeriodicTask:
        old = self._lock()
        schedule = self._write(new_id)
        fresh = PeriodicTask.objects.get(pk=schedule.pk)
        new = snapshot_of(fresh, SchedulePolicy.objects.get(pk=schedule.pk))
        if changes := changes_between(old, new):
            verb, before = ("changed", old.document) if old else ("added", None)
            audit_log.log_edit(user, fresh, changes, verb=verb, before=before, after=new.document)
        return schedule

    def conflict(self) -> Conflict:
        """The other user's changes, and the changes that saving would now make."""
        entries = audit_log.entries_of(self.details.instance)
        newer = entries.filter(pk__gt=self.opened_entry)
        return Conflict(
            entries=audit_log.formatted(newer, self.now),
            changes=self.changes() if self.is_valid else [],
        )

    def changes(self) -> list[Change]:
        """What saving the valid form would change."""
        with transaction.atomic():
            posted = self.snapshot_after_save()
            transaction.set_rollback(True)
        return changes_between(self.snapshot, posted)

    def snapshot_after_save(self) -> Snapshot:
        """The schedule as the valid form would save it. Saves the row of its timing, which it reads."""
        return snapshot_of(self._build_schedule(), self.policy.instance)

    def _lock(self) -> Snapshot | None:
        """Lock the schedule's row. Raises ConflictError if the schedule has changed."""
        if self.stored is None:
            return None
        found = locking.locked().filter(pk=self.stored.pk).first()
        current = snapshot_of(found, SchedulePolicy.of(found)) if found else None
        if current is None or current.version != self._data.get(VERSION):
            raise ConflictError
        return current

    def _write(self, new_id: int | None) -> PeriodicTask:
        schedule = self._build_schedule()
        policy = self._policy_values()
        if self.stored is not None:
            # A schedule that was created without signals may not have a policy yet.
            anchor = {"anchor": self.stored_policy.anchor}
            SchedulePolicy.objects.get_or_create(schedule=schedule, defaults=anchor)
            # Sends no signal: the ledger must not see the new policy before the new timing.
            SchedulePolicy.objects.filter(pk=schedule.pk).update(**policy)
            self.calendars.save_links(schedule.pk)
            links.assign(schedule.pk, self._after, self.now)
            schedule.save()
            self._check_cycle()
            return schedule
        schedule.pk = new_id
        schedule.save(force_insert=True)
        new_policy = SchedulePolicy.objects.get(pk=schedule.pk)
        self.calendars.save_links(new_policy.pk)
        for name, value in policy.items():
            setattr(new_policy, name, value)
        links.assign(schedule.pk, self._after, self.now)
        new_policy.save()
        self._check_cycle()
        return schedule

    @property
    def _after(self) -> Sequence[str]:
        """The names of its predecessors."""
        return self.times.times.after if isinstance(self.times.times, ChainTimes) else ()

    def _check_cycle(self) -> None:
        """Raise ConflictError if another user has just made a cycle of what this form adds to."""
        if self._after and self._planned is None and links.stored_cycle():
            raise ConflictError

    def _problem_with_after(self, names: Sequence[str]) -> str:
        """Why the schedule cannot start after those of these names; empty if it can."""
        stored = set(PeriodicTask.objects.filter(name__in=names).values_list("name", flat=True))
        missing = [name for name in names if name not in stored and name not in (self._planned or ())]
        if missing:
            known = PeriodicTask.objects.values_list("name", flat=True)
            hint = registry.suggestion(missing[0], known[:MAX_NAMES_COMPARED])
            return f"There is no schedule “{missing[0]}”. {hint}".rstrip()
        if self._planned is not None:
            return ""
        old = self.stored.name if self.stored else ""
        name = self.details.cleaned_data.get("name", old) if self.details.is_valid() else old
        path = links.cycle_with(name, names, replaces=old)
        return f"It would start after itself: {path}." if path else ""

    def _policy_values(self) -> dict[str, Any]:
        policy, names = self.policy.instance, [*PolicyForm.Meta.fields, *_NOT_IN_POLICY_FORM]
        # Not fields of the form.
        others = ("anchor", "imported_line")
        names += [each for each in others if getattr(policy, each) != getattr(self.stored_policy, each)]
        return {name: getattr(policy, name) for name in names}

    def _build_schedule(self) -> PeriodicTask:
        """The schedule as it would be saved. Creates the timing row unless an equal one exists."""
        schedule: PeriodicTask = self.details.instance
        schedule.task = self.target.task
        schedule.args = json_text.format_for_storage(self.target.args, schedule.args)
        schedule.kwargs = json_text.format_for_storage(self.target.options, schedule.kwargs)
        if self.times.times is not None:
            stored_schedules.assign(schedule, self.times.times)
        if isinstance(self.times.times, CronTimes):
            self.policy.instance.dialect = self.times.times.dialect
        self.policy.instance.after = after_of(self.times.times)
        self.policy.instance.calendars = self.calendars.copy
        self.policy.instance.left_out = self.calendars.left_out_choice
        schedule.policy = self.policy.instance
        return schedule

    @property
    def _has_validity_errors(self) -> bool:
        return not {"start_time", "expires"}.isdisjoint(self.details.errors)

    def _anchor(self) -> datetime:
        """The time from which an interval would be counted."""
        if self.details.is_bound:
            self.details.is_valid()
            start: datetime | None = self.details.cleaned_data.get("start_time")
        else:
            start = self.stored.start_time if self.stored else None
        return stored_schedules.anchor_of(self.stored_policy, start)


def _new_policy(now: datetime) -> SchedulePolicy:
    """As it is created with its schedule."""
    return SchedulePolicy(anchor=now.replace(microsecond=0))


def _times_of(stored: PeriodicTask | None) -> stored_times.StoredTimes | None:
    return stored_schedules.of(stored) if stored else None
