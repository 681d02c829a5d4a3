"""A schedule's values as people read them, secrets masked; and what tells one state of it from another.

``version`` changes whenever anything that the form edits does, whoever changed it and by whatever means. So
a form that carries the version it was opened with finds out that somebody was faster.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import moments
from tasks_app.jobs.admin.masked_json import told
from tasks_app.jobs.admin.schedule_details import DetailsForm
from tasks_app.jobs.admin.schedule_policy import CONCURRENCY, MISFIRE, PolicyForm
from tasks_app.jobs.admin.schedule_work import stored_work
from tasks_app.jobs.admin.trail import Change, differences
from tasks_app.jobs.defining.secrets import MASK
from tasks_app.jobs.models import SchedulePolicy
from tasks_app.jobs.models.schedule import this_second
from tasks_app.jobs.scheduling import stored_times
from tasks_app.jobs.scheduling.described import described
from tasks_app.jobs.scheduling.stored_times import CronTimes

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
    another = _("%(mask)s (another)") % {"mask": MASK}
    return [*found, *(Change(name=name, old=MASK, new=another) for name in sorted(replaced))]


def times_in_words(schedule: PeriodicTask) -> str:
    """In plain language, and for cron as it is written."""
    times = stored_times.of(schedule)
    if times is None:
        return str(_("cannot be read"))
    words = described(schedule)
    return f"{words} ({times.expression})" if isinstance(times, CronTimes) else words


def _work(schedule: PeriodicTask) -> dict[str, str]:
    work = stored_work(schedule)
    options = {name: told(value) for name, value in work.masked_options.items()}
    return {
        _("Name"): schedule.name,
        _("Job") if work.job else _("Task"): work.job.name if work.job else schedule.task,
        **{_("Option %(name)s") % {"name": name}: text for name, text in options.items()},
        _("Options in JSON"): work.unreadable,
        _("Positional arguments"): told(work.masked_args) if work.args else "",
        _("Times"): times_in_words(schedule),
    }


def _switches(schedule: PeriodicTask) -> dict[str, str]:
    headers = schedule.headers or "{}"
    return {
        _("Switched on"): _("yes") if schedule.enabled else _("no"),
        _("Not before"): moments.exact(schedule.start_time) if schedule.start_time else "",
        _("Not from"): moments.exact(schedule.expires) if schedule.expires else "",
        _("Only the next slot"): _("yes") if schedule.one_off and not schedule.clocked_id else "",
        _("Description"): schedule.description,
        _("Queue"): schedule.queue or "",
        _("Priority"): _text_or_none(schedule.priority),
        _("Message expires after (seconds)"): _text_or_none(schedule.expire_seconds),
        _("Exchange"): schedule.exchange or "",
        _("Routing key"): schedule.routing_key or "",
        _("Message headers"): "" if headers == "{}" else headers,
    }


def _policy(policy: SchedulePolicy) -> dict[str, str]:
    limit = str(policy.catch_up_limit)
    return {
        _("Missed slots"): _label(MISFIRE, policy.misfire),
        _("At most"): limit if policy.misfire == "all" else "",
        _("Start within"): _length(policy.starting_deadline),
        _("Spread over"): _length(policy.jitter),
        _("While the job still runs"): _label(CONCURRENCY, policy.concurrency),
    }


def _raw(schedule: PeriodicTask, policy: SchedulePolicy) -> list[Any]:
    own = [getattr(schedule, name) for name in _RAW]
    return [own, repr(stored_times.of(schedule)), [getattr(policy, name) for name in _RAW_POLICY]]


def _secrets(schedule: PeriodicTask) -> dict[str, str]:
    work = stored_work(schedule)
    masked = work.masked_options
    hidden = {name for name, value in (work.options or {}).items() if value != masked[name]}
    return {_("Option %(name)s") % {"name": name}: _fingerprint(told(work.options[name])) for name in hidden}


def _label(choices: Iterable[tuple[str, Any]], value: str) -> str:
    return str(dict(choices).get(value, value))


def _fingerprint(text: str) -> str:
    # Keyed, since it travels to the browser: a short secret cannot be guessed from it.
    return salted_hmac("tasks_app.jobs.admin.schedule_values", text).hexdigest()[:32]


def _text_or_none(value: Any) -> str:
    return "" if value is None else str(value)


def _length(length: Any) -> str:
    return moments.duration(length, parts=4) if length else ""
