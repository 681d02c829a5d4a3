"""The edit form of one schedule: the forms of its page, validated, previewed and saved together.

An edit form carries the version of the schedule that its page showed, and is saved only over that very
version: a faster user's edit is not overwritten, but shown. A save is one transaction under the schedule's
row lock, with its entry in the audit log; the ledger sees the new times and the new policy at once.
"""

import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.forms.boundfield import BoundField
from django.utils import timezone
from django.utils.functional import cached_property
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.audit_log import Change, Entry
from jobledger.admin.fields import number_in
from jobledger.admin.rights import User
from jobledger.admin.schedules.forms import DELIVERY, VALIDITY, DetailsForm, PolicyForm, TimesForm
from jobledger.admin.schedules.snapshot import Snapshot, changes_between, snapshot_of
from jobledger.admin.schedules.target import TargetForm, stored_target
from jobledger.jobs import json_text
from jobledger.models import SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.preview import Preview, preview
from jobledger.schedules.rules.slots import RuleError, Window
from jobledger.schedules.stored_schedules import PauseLookup, StoredSchedule, Times, stored_schedule

VERSION, SEEN = "version", "seen"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Another user was faster."""

    entries: list[Entry]
    """What was done in the admin since the form was opened; empty if it was done elsewhere."""
    changes: list[Change]
    """What saving the form over it would change."""


class ConflictError(Exception):
    """The schedule is no longer the one that the form was opened with."""


class EditForm:
    """The forms of one schedule, which may be a new one."""

    def __init__(
        self, data: Any = None, *, stored: PeriodicTask | None = None, now: datetime, job_name: str = ""
    ) -> None:
        """``data`` is what was posted, if anything was; ``job_name`` preselects the job of a new schedule."""
        self.stored, self.now = stored, now
        self.stored_policy = SchedulePolicy.of(stored) if stored else SchedulePolicy()
        # The forms write into copies: what is stored is compared with them.
        edited = PeriodicTask() if stored is None else copy.copy(stored)
        self.details = DetailsForm(data, instance=edited, label_suffix="")
        self.policy = PolicyForm(
            data,
            instance=copy.copy(self.stored_policy),
            prefix="policy",
            label_suffix="",
            use_required_attribute=False,
        )
        self.times = TimesForm(data, stored=_times_of(stored), anchor=self._anchor(), now=now)
        self._data, self._job_name = data, job_name

    @cached_property
    def target(self) -> TargetForm:
        """What it starts; made on demand, since the preview does not need it."""
        return TargetForm(self._data, stored=stored_target(self.stored), job_name=self._job_name)

    @cached_property
    def snapshot(self) -> Snapshot | None:
        """The schedule as it is stored."""
        return snapshot_of(self.stored, self.stored_policy) if self.stored else None

    @property
    def version(self) -> str:
        """Of the schedule as it is stored."""
        return self.snapshot.version if self.snapshot else ""

    @property
    def newest_entry(self) -> int:
        """The key of its newest entry in the audit log; 0 if there is none."""
        if self.stored is None:
            return 0
        return audit_log.entries_of(self.stored).values_list("pk", flat=True).first() or 0

    @property
    def opened_version(self) -> str:
        """The version that the page was opened with, which is posted with it."""
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
        """The fields of Celery's delivery, which few schedules need."""
        return [self.details[name] for name in DELIVERY]

    @property
    def has_delivery(self) -> bool:
        """Whether any of them is filled in."""
        return any(field.errors or field.value() not in (None, "", "{}") for field in self.delivery)

    @property
    def has_validity(self) -> bool:
        """Whether its validity is limited."""
        fields = [self.details[name] for name in VALIDITY]
        return any(field.errors or field.value() for field in fields)

    @property
    def zone_name(self) -> str:
        """The time zone of times that are given without one."""
        return timezone.get_current_timezone_name()

    @property
    def time_errors(self) -> list[str]:
        """What keeps the times from being read."""
        found = [*self.times.errors.values(), *self.policy.errors.values()]
        found += [self.details.errors[name] for name in VALIDITY if name in self.details.errors]
        return [str(error) for errors in found for error in errors]

    @cached_property
    def is_valid(self) -> bool:
        """Whether it may be saved. Every form is validated, so that all errors are shown at once."""
        results = [form.is_valid() for form in (self.details, self.policy, self.times, self.target)]
        return all(results)

    @property
    def posted_times(self) -> Times | None:
        """The times and the policy in the forms; None while they are not valid."""
        are_valid = self.policy.is_valid() and self.times.is_valid() and not self._has_validity_errors
        if not are_valid or self.times.rule is None:
            return None
        data = self.details.cleaned_data
        is_once = bool(data.get("one_off")) or self.times.is_once
        window = Window(start_time=data.get("start_time"), expires=data.get("expires"), one_off=is_once)
        policy = stored_schedules.policy_from(self.policy.instance)
        return Times(rule=self.times.rule, window=window, policy=policy, enabled=bool(data.get("enabled")))

    @cached_property
    def stored_schedule(self) -> StoredSchedule | None:
        """The schedule's times as they are stored; None where they cannot be evaluated."""
        return stored_schedule(self.stored.pk) if self.stored else None

    @cached_property
    def times_after_save(self) -> Times | None:
        """None while they cannot be read."""
        as_stored = self.stored_schedule.times if self.stored_schedule else None
        return self.posted_times if self.is_posted else as_stored

    def preview(self) -> Preview | None:
        """What saving would do; None while the times cannot be read."""
        if self.times_after_save is None:
            return None
        schedule_id = self.stored.pk if self.stored else 0
        pauses = PauseLookup([schedule_id], self.now).of(schedule_id)
        try:
            return preview(self.times_after_save, now=self.now, old=self.stored_schedule, pauses=pauses)
        except RuleError:
            return None

    def save(self, user: User) -> PeriodicTask:
        """Save the valid form. Raises ConflictError, and then nothing is saved."""
        with transaction.atomic():
            old = self._locked()
            schedule = self._write()
            fresh = PeriodicTask.objects.get(pk=schedule.pk)
            new = snapshot_of(fresh, SchedulePolicy.objects.get(pk=schedule.pk))
            if changes := changes_between(old, new):
                audit_log.log_edit(user, fresh, changes, verb="changed" if old else "added")
        return schedule

    def conflict(self) -> Conflict:
        """Who was faster, and what saving would now do to their values."""
        entries = audit_log.entries_of(self.details.instance)
        newer = entries.filter(pk__gt=self.opened_entry)
        return Conflict(
            entries=audit_log.formatted(newer, self.now),
            changes=self._changes_over_stored() if self.is_valid else [],
        )

    def _changes_over_stored(self) -> list[Change]:
        with transaction.atomic():
            # A snapshot reads the times from rows; the rollback removes them.
            posted = snapshot_of(self._filled_in(), self.policy.instance)
            transaction.set_rollback(True)
        return changes_between(self.snapshot, posted)

    def _locked(self) -> Snapshot | None:
        """The schedule under its row lock. Raises ConflictError unless it is as the form was opened with."""
        if self.stored is None:
            return None
        found = PeriodicTask.objects.select_for_update().filter(pk=self.stored.pk).first()
        current = snapshot_of(found, SchedulePolicy.of(found)) if found else None
        if current is None or current.version != self._data.get(VERSION):
            raise ConflictError
        return current

    def _write(self) -> PeriodicTask:
        schedule, chosen = self._filled_in(), _chosen(self.policy.instance)
        if schedule.pk is not None:
            # A schedule that was created without signals may have none yet.
            SchedulePolicy.objects.get_or_create(schedule=schedule)
            # Without a signal: the ledger is to see it together with the new times, not before them.
            SchedulePolicy.objects.filter(pk=schedule.pk).update(**chosen)
            schedule.save()
            return schedule
        schedule.save()
        made = SchedulePolicy.objects.get(pk=schedule.pk)
        for name, value in chosen.items():
            setattr(made, name, value)
        made.save()
        return schedule

    def _filled_in(self) -> PeriodicTask:
        """The schedule as it would be saved; rows of its times are created if there are none like them."""
        schedule: PeriodicTask = self.details.instance
        schedule.task = self.target.task
        schedule.args = json_text.format_for_storage(self.target.args, schedule.args)
        schedule.kwargs = json_text.format_for_storage(self.target.options, schedule.kwargs)
        if self.times.times is not None:
            stored_schedules.assign(schedule, self.times.times)
        return schedule

    @property
    def _has_validity_errors(self) -> bool:
        return not {"start_time", "expires"}.isdisjoint(self.details.errors)

    def _anchor(self) -> datetime:
        """The time that an interval would count from."""
        if self.details.is_bound:
            self.details.is_valid()
            start: datetime | None = self.details.cleaned_data.get("start_time")
        else:
            start = self.stored.start_time if self.stored else None
        return start or self.stored_policy.anchor


def _chosen(policy: SchedulePolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in PolicyForm.Meta.fields}


def _times_of(stored: PeriodicTask | None) -> stored_schedules.StoredTimes | None:
    return stored_schedules.of(stored) if stored else None
