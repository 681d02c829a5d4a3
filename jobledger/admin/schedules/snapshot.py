"""A schedule's values as people read them, secrets masked; and what tells one state of it from another.

``version`` changes whenever anything that the form edits does, whoever changed it and by whatever means. So
a form that carries the version it was opened with finds out that somebody was faster.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.utils.crypto import salted_hmac
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display
from jobledger.admin.audit_log import Change, differences
from jobledger.admin.schedules.forms import CONCURRENCY, MISFIRE, DetailsForm, PolicyForm
from jobledger.admin.schedules.target import stored_work
from jobledger.jobs.json_text import format_inline
from jobledger.jobs.secrets import MASK
from jobledger.models import SchedulePolicy
from jobledger.models.schedule import this_second
from jobledger.schedules import stored_schedules
from jobledger.schedules.stored_schedules import CronTimes
from jobledger.schedules.words import described

_RAW = (*DetailsForm.Meta.fields, "task", "args", "kwargs")
_RAW_POLICY = PolicyForm.Meta.fields


@dataclass(frozen=True, kw_only=True)
class Values:
    """One state of a schedule."""

    readable: dict[str, str]
    """By the names that the form shows; what is empty is left out."""
    version: str
    secrets: dict[str, str] = field(default_factory=dict)
    """A fingerprint of each value that is masked."""


def values_of(schedule: PeriodicTask, policy: SchedulePolicy) -> Values:
    """The schedule as it is, saved or not."""
    work = {**_work(schedule), **_switches(schedule), **_policy(policy)}
    return Values(
        readable={name: value for name, value in work.items() if value},
        version=_fingerprint(json.dumps(_raw(schedule, policy), default=str, sort_keys=True)),
        secrets=_secrets(schedule),
    )


def policy_of(schedule: PeriodicTask) -> SchedulePolicy:
    """The stored policy; a new one for a schedule that has none yet."""
    found = SchedulePolicy.objects.filter(pk=schedule.pk).first()
    return found or SchedulePolicy(schedule=schedule, anchor=this_second())


def changes(old: Values | None, new: Values | None) -> list[Change]:
    """What differs; None is no schedule. Of a secret it is said that it is another, never which."""
    found = differences(old.readable if old else {}, new.readable if new else {})
    known, secrets = old.secrets if old else {}, new.secrets if new else {}
    named = {change.name for change in found}
    replaced = {name for name, mark in secrets.items() if known.get(name, mark) != mark} - named
    another = f"{MASK} (another)"
    return [*found, *(Change(name=name, old=MASK, new=another) for name in sorted(replaced))]


def times_in_words(schedule: PeriodicTask) -> str:
    """In plain language, and for cron as it is written."""
    times = stored_schedules.of(schedule)
    if times is None:
        return "cannot be read"
    words = described(schedule)
    return f"{words} ({times.expression})" if isinstance(times, CronTimes) else words


def _work(schedule: PeriodicTask) -> dict[str, str]:
    work = stored_work(schedule)
    options = {name: format_inline(value) for name, value in work.masked_options.items()}
    return {
        "Name": schedule.name,
        "Job" if work.job else "Task": work.job.name if work.job else schedule.task,
        **{f"Option {name}": text for name, text in options.items()},
        "Options in JSON": work.unreadable,
        "Positional arguments": format_inline(work.masked_args) if work.args else "",
        "Times": times_in_words(schedule),
    }


def _switches(schedule: PeriodicTask) -> dict[str, str]:
    headers = schedule.headers or "{}"
    return {
        "Switched on": "yes" if schedule.enabled else "no",
        "Not before": display.exact(schedule.start_time) if schedule.start_time else "",
        "Not from": display.exact(schedule.expires) if schedule.expires else "",
        "Only the next slot": "yes" if schedule.one_off and not schedule.clocked_id else "",
        "Description": schedule.description,
        "Queue": schedule.queue or "",
        "Priority": _text_or_none(schedule.priority),
        "Message expires after (seconds)": _text_or_none(schedule.expire_seconds),
        "Exchange": schedule.exchange or "",
        "Routing key": schedule.routing_key or "",
        "Message headers": "" if headers == "{}" else headers,
    }


def _policy(policy: SchedulePolicy) -> dict[str, str]:
    limit = str(policy.catch_up_limit)
    return {
        "Missed slots": _label(MISFIRE, policy.misfire),
        "At most": limit if policy.misfire == "all" else "",
        "Start within": _length(policy.starting_deadline),
        "Spread over": _length(policy.jitter),
        "While the job still runs": _label(CONCURRENCY, policy.concurrency),
    }


def _raw(schedule: PeriodicTask, policy: SchedulePolicy) -> list[Any]:
    own = [getattr(schedule, name) for name in _RAW]
    return [own, repr(stored_schedules.of(schedule)), [getattr(policy, name) for name in _RAW_POLICY]]


def _secrets(schedule: PeriodicTask) -> dict[str, str]:
    work = stored_work(schedule)
    masked = work.masked_options
    hidden = {name for name, value in (work.options or {}).items() if value != masked[name]}
    return {f"Option {name}": _fingerprint(format_inline(work.options[name])) for name in hidden}


def _label(choices: Iterable[tuple[str, Any]], value: str) -> str:
    return str(dict(choices).get(value, value))


def _fingerprint(text: str) -> str:
    # Keyed, since it travels to the browser: a short secret cannot be guessed from it.
    return salted_hmac("jobledger.admin.schedules.snapshot", text).hexdigest()[:32]


def _text_or_none(value: Any) -> str:
    return "" if value is None else str(value)


def _length(length: Any) -> str:
    return display.duration(length, parts=4) if length else ""
