"""Snapshots: the readable values of a schedule, with secrets masked, and the version of the schedule.

The version is a hash of all values that can be edited in the form, however they were changed. A form that
includes the version it was opened with can therefore detect that the schedule has changed since.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from django.utils.crypto import salted_hmac
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.admin.audit_log import Change, differences
from jobledger.admin.schedules.editing.forms import DetailsForm, masked_headers
from jobledger.admin.schedules.editing.policy_form import PolicyForm
from jobledger.admin.schedules.editing.target import stored_target
from jobledger.calendars.use import names_in
from jobledger.jobs.json_text import format_inline
from jobledger.jobs.secrets import MASK
from jobledger.models import Dialect, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.documents import version_of
from jobledger.schedules.documents.keys import Document
from jobledger.schedules.stored_times import CronTimes
from jobledger.schedules.words import described

_RAW = (*DetailsForm.Meta.fields, "task", "args", "kwargs")
_RAW_POLICY = PolicyForm.Meta.fields


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A schedule at a point in time."""

    readable: dict[str, str]
    """The values, by their labels in the edit form. Empty ones are omitted."""
    version: str
    secrets: dict[str, str] = field(default_factory=dict)
    """Fingerprints of the values that include secrets."""
    document: Document | None = None
    """All values with the name, to bring them back; None if they are not valid."""


def snapshot_of(schedule: PeriodicTask, policy: SchedulePolicy) -> Snapshot:
    """A snapshot of the schedule, whether or not it is saved."""
    values = {**_target(schedule), **_details(schedule), **_policy(policy)}
    return Snapshot(
        readable={name: value for name, value in values.items() if value},
        version=fingerprint(json.dumps(_raw(schedule, policy), default=str, sort_keys=True)),
        secrets=_secrets(schedule, policy),
        document=version_of(schedule, policy),
    )


def changes_between(old: Snapshot | None, new: Snapshot | None) -> list[Change]:
    """The differences; None means no schedule. Changed secrets are shown without their values."""
    changes = differences(old.readable if old else {}, new.readable if new else {})
    known, secrets = old.secrets if old else {}, new.secrets if new else {}
    changed_names = {change.name for change in changes}
    replaced = {name for name, mark in secrets.items() if known.get(name, mark) != mark} - changed_names
    new_value = f"{MASK} (changed)"
    return [*changes, *(Change(name=name, old=MASK, new=new_value) for name in sorted(replaced))]


def _times(schedule: PeriodicTask) -> str:
    """The timing in plain language, with the cron expression if there is one."""
    times = stored_schedules.of(schedule)
    if times is None:
        return "not valid"
    words = described(schedule)
    if not isinstance(times, CronTimes):
        return words
    dialect = ", by Celery's rules" if times.dialect is Dialect.CELERY else ""
    return f"{words} ({times.expression}{dialect})"


def _target(schedule: PeriodicTask) -> dict[str, str]:
    target = stored_target(schedule)
    options = {name: format_inline(value) for name, value in target.masked_options.items()}
    return {
        "Name": schedule.name,
        "Job" if target.job else "Task": target.job.name if target.job else schedule.task,
        **{f"Option {name}": text for name, text in options.items()},
        "Options (JSON)": target.masked_unreadable,
        "Positional arguments": format_inline(target.masked_args) if target.args else "",
        "Timing": _times(schedule),
    }


def _details(schedule: PeriodicTask) -> dict[str, str]:
    headers = masked_headers(schedule)
    return {
        "Enabled": "yes" if schedule.enabled else "no",
        "Start time": formats.exact(schedule.start_time) if schedule.start_time else "",
        "End time": formats.exact(schedule.expires) if schedule.expires else "",
        "Run only once": "yes" if schedule.one_off and not schedule.clocked_id else "",
        "Description": schedule.description,
        "Queue": schedule.queue or "",
        "Priority": _text_or_none(schedule.priority),
        "Message expires after (seconds)": _text_or_none(schedule.expire_seconds),
        "Exchange": schedule.exchange or "",
        "Routing key": schedule.routing_key or "",
        "Message headers": "" if headers == "{}" else headers,
    }


def _policy(policy: SchedulePolicy) -> dict[str, str]:
    limit, used = str(policy.catch_up_limit), names_in(policy.calendars)
    return {
        "Missed runs": policy.get_misfire_display(),
        "Catch-up limit": limit if policy.misfire == "all" else "",
        "Start deadline": _duration(policy.starting_deadline),
        "Random delay (jitter)": _duration(policy.jitter),
        "If the previous run is still running": policy.get_concurrency_display(),
        "Time limit": _duration(policy.time_limit),
        "Time to clean up": _duration_or_none(policy.time_limit_grace),
        "Limit of this schedule's live runs": _text_or_none(policy.max_live_per_schedule),
        "Limit of the job's live runs": _text_or_none(policy.max_live),
        "Not on": ", ".join(used["not_on"]),
        "Only on": ", ".join(used["only_on"]),
        "Runs that calendars leave out": policy.get_left_out_display() if policy.calendars else "",
        "Pause after failures": _text_or_none(policy.pause_after_failures),
        "Length of that pause": _duration(policy.failure_pause),
        "Ping URL": MASK if policy.ping_url else "",
    }


def _raw(schedule: PeriodicTask, policy: SchedulePolicy) -> list[Any]:
    own = [getattr(schedule, name) for name in _RAW]
    used = [policy.left_out, names_in(policy.calendars)]
    values = [*(getattr(policy, name) for name in _RAW_POLICY), used]
    return [own, repr(stored_schedules.of(schedule)), values]


def _secrets(schedule: PeriodicTask, policy: SchedulePolicy) -> dict[str, str]:
    target = stored_target(schedule)
    masked = target.masked_options
    found = {
        f"Option {name}": format_inline(value)
        for name, value in (target.options or {}).items()
        if value != masked[name]
    }
    if target.masked_args != list(target.args):
        found["Positional arguments"] = format_inline(target.args)
    if masked_headers(schedule) != schedule.headers:
        found["Message headers"] = schedule.headers
    if target.masked_unreadable != target.unreadable:
        found["Options (JSON)"] = target.unreadable
    if policy.ping_url:
        found["Ping URL"] = policy.ping_url
    return {name: fingerprint(text) for name, text in found.items()}


def fingerprint(text: str) -> str:
    """A hash that reveals nothing about the text."""
    # Keyed, because it is sent to the browser: short secrets must not be guessable from it.
    return salted_hmac("jobledger.admin.schedules.snapshot", text).hexdigest()[:32]


def _text_or_none(value: Any) -> str:
    return "" if value is None else str(value)


def _duration_or_none(length: Any) -> str:
    return "" if length is None else _duration(length) or "0 s"


def _duration(length: Any) -> str:
    return formats.duration(length, parts=4) if length else ""
