"""Everything that is written down of one schedule: the forms of its page, judged and saved together.

A sheet is opened with the version of the schedule that its page showed. It is saved only over that very
version: whoever was faster is not overwritten, but named. All of a save is in one transaction, under the
schedule's row lock, with its entry in the trail; the ledger sees the new times and the new policy at once.
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
from jobledger.admin.schedules import snapshot
from jobledger.admin.schedules.forms import DELIVERY, SPAN, DetailsForm, PolicyForm, TimesForm
from jobledger.admin.schedules.snapshot import Values
from jobledger.admin.schedules.target import Work, stored_work
from jobledger.jobs import json_text
from jobledger.models import SchedulePolicy
from jobledger.models.schedule import this_second
from jobledger.schedules import stored_schedules
from jobledger.schedules.pauses import PauseBook
from jobledger.schedules.preview import Preview, Standing, Times, preview
from jobledger.schedules.rules.slots import RuleError, Window
from jobledger.schedules.stored_schedules import standing_of

VERSION, SEEN = "version", "seen"


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Somebody was faster."""

    entries: list[Entry]
    """What people did in the admin since this sheet was opened; empty where it was done elsewhere."""
    changes: list[Change]
    """What saving this sheet all the same would change."""


class ConflictError(Exception):
    """The schedule is not any more what the sheet was opened with."""


class Sheet:
    """The forms of one schedule, which may be a new one."""

    def __init__(
        self, data: Any = None, *, stored: PeriodicTask | None = None, now: datetime, job_name: str = ""
    ) -> None:
        """What was posted, if it was; and the schedule as it is stored."""
        self.stored, self.now = stored, now
        self.stored_policy = _policy_of(stored)
        # The forms write into copies: what is stored is compared with what they say.
        mine = PeriodicTask() if stored is None else copy.copy(stored)
        self.details = DetailsForm(data, instance=mine, label_suffix="")
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
    def work(self) -> Work:
        """What it starts. The preview does not ask."""
        return Work(self._data, stored=stored_work(self.stored), job_name=self._job_name)

    @cached_property
    def values(self) -> Values | None:
        """The schedule as it is stored."""
        return snapshot.values_of(self.stored, self.stored_policy) if self.stored else None

    @property
    def version(self) -> str:
        """Of the schedule as it is stored."""
        return self.values.version if self.values else ""

    @property
    def newest_entry(self) -> int:
        """Of the trail; 0 where there is none."""
        if self.stored is None:
            return 0
        return audit_log.entries_of(self.stored).values_list("pk", flat=True).first() or 0

    @property
    def opened_version(self) -> str:
        """What the page was opened with: it goes into the page, and comes back with it."""
        return self._data.get(VERSION, "") if self.is_posted else self.version

    @property
    def opened_entry(self) -> int:
        """The newest entry of the trail when the page was opened."""
        if not self.is_posted:
            return self.newest_entry
        return number_in(self._data.get(SEEN, "")) or 0

    @property
    def is_posted(self) -> bool:
        """Whether somebody typed anything."""
        return self._data is not None

    @property
    def delivery(self) -> list[BoundField]:
        """The fields that few need."""
        return [self.details[name] for name in DELIVERY]

    @property
    def has_delivery(self) -> bool:
        """Whether any of them says something."""
        return any(field.errors or field.value() not in (None, "", "{}") for field in self.delivery)

    @property
    def has_span(self) -> bool:
        """Whether the schedule does not go on for ever."""
        fields = [self.details[name] for name in SPAN]
        return any(field.errors or field.value() for field in fields)

    @property
    def zone_name(self) -> str:
        """The zone in which moments without one are meant."""
        return timezone.get_current_timezone_name()

    @property
    def time_errors(self) -> list[str]:
        """What keeps the times from being read."""
        found = [*self.times.errors.values(), *self.policy.errors.values()]
        found += [self.details.errors[name] for name in SPAN if name in self.details.errors]
        return [str(error) for errors in found for error in errors]

    @cached_property
    def is_good(self) -> bool:
        """Whether all of it may be saved. Every form is judged, so that all that is wrong is said at once."""
        verdicts = [form.is_valid() for form in (self.details, self.policy, self.times, self.work)]
        return all(verdicts)

    @property
    def proposed(self) -> Times | None:
        """The times and the policy that the forms say; None while there is something wrong with them."""
        are_good = self.policy.is_valid() and self.times.is_valid() and not self._span_errors
        if not are_good or self.times.rule is None:
            return None
        data = self.details.cleaned_data
        is_once = bool(data.get("one_off")) or self.times.is_one_moment
        window = Window(start_time=data.get("start_time"), expires=data.get("expires"), one_off=is_once)
        policy = stored_schedules.policy_from(self.policy.instance)
        return Times(rule=self.times.rule, window=window, policy=policy, enabled=bool(data.get("enabled")))

    @cached_property
    def standing(self) -> Standing | None:
        """The schedule's times as they are stored; None where they cannot be evaluated."""
        return standing_of(self.stored.pk) if self.stored else None

    @cached_property
    def foreseen(self) -> Times | None:
        """The times that a save would leave; None while they cannot be read."""
        as_it_is = self.standing.times if self.standing else None
        return self.proposed if self.is_posted else as_it_is

    def preview(self) -> Preview | None:
        """What saving would do; None while the times cannot be read."""
        if self.foreseen is None:
            return None
        schedule_id = self.stored.pk if self.stored else 0
        pauses = PauseBook([schedule_id], self.now).of(schedule_id)
        try:
            return preview(self.foreseen, now=self.now, old=self.standing, pauses=pauses)
        except RuleError:
            return None

    def save(self, user: User) -> PeriodicTask:
        """Save what was judged good. Raises ConflictError, and then nothing is saved."""
        with transaction.atomic():
            old = self._locked()
            schedule = self._written()
            fresh = PeriodicTask.objects.get(pk=schedule.pk)
            new = snapshot.values_of(fresh, SchedulePolicy.objects.get(pk=schedule.pk))
            found = snapshot.changes(old, new)
            if found:
                audit_log.edited(user, fresh, found, verb="changed" if old else "added")
        return schedule

    def conflict(self) -> Conflict:
        """Who was faster, and what saving would now do to their values."""
        found = audit_log.entries_of(self.details.instance)
        newer = found.filter(pk__gt=self.opened_entry).select_related("user")
        entries = audit_log.shown(newer, self.now)
        return Conflict(entries=entries, changes=self._differences() if self.is_good else [])

    def _differences(self) -> list[Change]:
        with transaction.atomic():
            # The times' words are those of rows, which are not kept.
            mine = snapshot.values_of(self._filled(), self.policy.instance)
            transaction.set_rollback(True)
        return snapshot.changes(self.values, mine)

    def _locked(self) -> Values | None:
        """The schedule as it is now, and as the sheet takes it to be."""
        if self.stored is None:
            return None
        found = PeriodicTask.objects.select_for_update().filter(pk=self.stored.pk).first()
        values = snapshot.values_of(found, _policy_of(found)) if found else None
        if values is None or values.version != self._data.get(VERSION):
            raise ConflictError
        return values

    def _written(self) -> PeriodicTask:
        schedule, chosen = self._filled(), _chosen(self.policy.instance)
        if schedule.pk is not None:
            # What came by a road without signals may have none yet.
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

    def _filled(self) -> PeriodicTask:
        """The schedule as it would be saved; rows with its times are made where there are none like them."""
        schedule: PeriodicTask = self.details.instance
        schedule.task = self.work.task
        schedule.args = json_text.format_for_storage(self.work.args, schedule.args)
        schedule.kwargs = json_text.format_for_storage(self.work.options, schedule.kwargs)
        if self.times.times is not None:
            stored_schedules.put(schedule, self.times.times)
        return schedule

    @property
    def _span_errors(self) -> bool:
        return not {"start_time", "expires"}.isdisjoint(self.details.errors)

    def _anchor(self) -> datetime:
        """What an interval would count from."""
        if self.details.is_bound:
            self.details.is_valid()
            start: datetime | None = self.details.cleaned_data.get("start_time")
        else:
            start = self.stored.start_time if self.stored else None
        return start or self.stored_policy.anchor


def _chosen(policy: SchedulePolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in PolicyForm.Meta.fields}


def _policy_of(stored: PeriodicTask | None) -> SchedulePolicy:
    return snapshot.policy_of(stored) if stored else SchedulePolicy(anchor=this_second())


def _times_of(stored: PeriodicTask | None) -> stored_schedules.StoredTimes | None:
    return stored_schedules.of(stored) if stored else None
