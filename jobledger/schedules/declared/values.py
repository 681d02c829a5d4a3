"""The values that can be declared: read from the code and from the database, written, and formatted."""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.calendars.use import names_in
from jobledger.jobs import json_text, registry, secrets
from jobledger.models import Dialect, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.declared import Declared, degrees
from jobledger.schedules.declared.merge import Values
from jobledger.schedules.rules.cron_expression import fields_of
from jobledger.schedules.rules.wallclock import zone_named
from jobledger.schedules.stored_times import (
    ChainTimes,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
    after_of,
)
from jobledger.schedules.words import chain_words

LABELS = {
    "job": "Job",
    "options": "Options",
    "timing": "Timing",
    "timezone": "Time zone",
    "enabled": "Enabled",
    "description": "Description",
    "queue": "Queue",
    "priority": "Priority",
    "misfire": "Missed runs",
    "catch_up_limit": "Catch-up limit",
    "starting_deadline": "Start deadline",
    "jitter": "Random delay (jitter)",
    "concurrency": "If the previous run is still running",
    "time_limit": "Time limit",
    "time_limit_grace": "Time to clean up",
    "not_on": "Not on",
    "only_on": "Only on",
    "left_out": "Runs that calendars leave out",
}
"""As in the edit form."""
_LENGTHS = ("starting_deadline", "jitter", "time_limit", "time_limit_grace")
POLICY_FIELDS = ("misfire", "catch_up_limit", "concurrency", *_LENGTHS, "left_out")


def declared_values(declared: Declared) -> Values:
    """The values that the code declares for this environment. Raises RuleError."""
    schedule = declared.schedule
    timing, zone = _timing(declared.times())
    return Values(
        job=declared.job.task_name,
        options=json.loads(json.dumps(dict(schedule.options))),
        timing=timing,
        timezone=zone,
        enabled=declared.is_enabled_here,
        description=_text(declared.description),
        queue=schedule.queue,
        priority=schedule.priority,
        misfire=str(schedule.misfire),
        catch_up_limit=schedule.catch_up_limit,
        starting_deadline=_seconds(schedule.starting_deadline),
        jitter=_seconds(schedule.jitter),
        concurrency=str(schedule.concurrency or ""),
        time_limit=_seconds(schedule.time_limit),
        time_limit_grace=_seconds(schedule.time_limit_grace),
        not_on=sorted(set(schedule.calendars.not_on)),
        only_on=sorted(set(schedule.calendars.only_on)),
        left_out=str(schedule.calendars.left_out),
    )


def stored_values(schedule: PeriodicTask) -> Values:
    """The values in the database, valid or not."""
    policy = SchedulePolicy.of(schedule)
    times, used = stored_schedules.of(schedule), names_in(policy.calendars)
    timing, zone = _stored_timing(_as_declared(schedule, times)) if times else (None, "")
    return Values(
        job=schedule.task,
        options=_options(schedule.kwargs),
        timing=timing,
        timezone=zone,
        enabled=schedule.enabled,
        description=_text(schedule.description),
        queue=schedule.queue or "",
        priority=schedule.priority,
        misfire=policy.misfire,
        catch_up_limit=policy.catch_up_limit,
        starting_deadline=_seconds(policy.starting_deadline),
        jitter=_seconds(policy.jitter),
        concurrency=policy.concurrency,
        time_limit=_seconds(policy.time_limit),
        time_limit_grace=_seconds(policy.time_limit_grace),
        not_on=used["not_on"],
        only_on=used["only_on"],
        left_out=policy.left_out,
    )


def _as_declared(schedule: PeriodicTask, times: StoredTimes) -> StoredTimes:
    """The same with the names that the code has for the schedules after which it starts."""
    if not isinstance(times, ChainTimes):
        return times
    found = links.predecessors_of(schedule)
    declared = links.declared_names(link.schedule_id for link in found if link.schedule_id is not None)
    names = (declared.get(link.schedule_id or 0, link.current_name) for link in found)
    return replace(times, after=tuple(sorted(names)))


def assign(schedule: PeriodicTask, policy: SchedulePolicy, values: Values, names: Collection[str]) -> None:
    """Set these fields. Saves a row of the timing if necessary, but neither the schedule nor the policy."""
    if "timing" in names or "timezone" in names:
        times = _times(values)
        stored_schedules.assign(schedule, times)
        policy.dialect = times.dialect if isinstance(times, CronTimes) else policy.dialect
        policy.after = after_of(times)
    if "job" in names:
        schedule.task, schedule.args = values.job, "[]"
    if "options" in names:
        schedule.kwargs = json_text.format_for_storage(values.options, "")
    if "queue" in names:
        schedule.queue = values.queue or None
    for name in {"enabled", "description", "priority"}.intersection(names):
        setattr(schedule, name, getattr(values, name))
    for name in {"misfire", "catch_up_limit", "concurrency", "left_out"}.intersection(names):
        setattr(policy, name, getattr(values, name))
    for name in set(_LENGTHS).intersection(names):
        seconds = getattr(values, name)
        setattr(policy, name, None if seconds is None else timedelta(seconds=seconds))


def formatted(values: Values, name: str) -> str:
    """A field's value in one line, with secrets masked; empty if there is none."""
    value = getattr(values, name)
    match name:
        case "job":
            job = registry.of_task(str(value))
            return job.name if job else str(value)
        case "options":
            return _formatted_options(values)
        case "timing":
            return _formatted_timing(value)
        case "enabled":
            return "yes" if value else "no"
        case "misfire" | "concurrency" | "left_out":
            display: str = getattr(SchedulePolicy(**{name: value}), f"get_{name}_display")()
            return display
        case "not_on" | "only_on":
            return ", ".join(map(str, value))
    if name in _LENGTHS:
        return _formatted_length(name, value)
    return "" if value is None else json_text.format_inline(value)


def _formatted_length(name: str, seconds: Any) -> str:
    if seconds is None or (name == "jitter" and not seconds):
        return ""
    return formats.duration(timedelta(seconds=seconds), parts=4) if seconds else "0 s"


def _timing(times: StoredTimes) -> tuple[dict[str, Any], str]:
    """The timing and its zone."""
    match times:
        case CronTimes(expression=expression, zone=zone, dialect=dialect):
            # A stored expression may be invalid.
            texts = fields_of(expression) if dialect is Dialect.CRON else expression.split()
            celery = {"dialect": str(dialect)} if dialect is Dialect.CELERY else {}
            return {"cron": " ".join(texts), **celery}, str(zone)
        case IntervalTimes(every=every, period=period):
            seconds = timedelta(**{period: every}).total_seconds()
            return {"seconds": int(seconds) if seconds.is_integer() else seconds}, ""
        case ClockedTimes(at=at):
            return {"at": at.astimezone(UTC).isoformat()}, ""
        case SolarTimes(event=event, latitude=latitude, longitude=longitude):
            return {"solar": [event, str(degrees(latitude)), str(degrees(longitude))]}, ""
        case ChainTimes(after=after, after_failure=after_failure):
            return {"after": sorted(after), **({"after_failure": True} if after_failure else {})}, ""


def _stored_timing(times: StoredTimes) -> tuple[dict[str, Any], str]:
    """The same for stored times, which may be invalid, such as an interval in an unknown unit."""
    try:
        return _timing(times)
    except (TypeError, ValueError, ArithmeticError):
        found = {name: str(value) for name, value in vars(times).items()}
        return {"invalid": " ".join(found.values())}, ""


def _times(values: Values) -> StoredTimes:
    match values.timing:
        case {"cron": str(expression), **rest}:
            dialect = Dialect.CELERY if rest else Dialect.CRON
            return CronTimes(expression=expression, zone=zone_named(values.timezone), dialect=dialect)
        case {"seconds": seconds}:
            return IntervalTimes(every=int(seconds), period="seconds")
        case {"at": at}:
            return ClockedTimes(at=datetime.fromisoformat(at))
        case {"solar": [event, latitude, longitude]}:
            return SolarTimes(event=event, latitude=degrees(latitude), longitude=degrees(longitude))
        case {"after": list(names), **rest}:
            after = sorted(links.as_stored(names))
            return ChainTimes(after=tuple(after), after_failure=bool(rest))
    raise TypeError(f"not a timing: {values.timing!r}")


def _options(stored: str) -> Any:
    """The options; the text, if it is not a JSON object."""
    try:
        found = json_text.parse(stored or "{}")
    except ValueError:
        return stored
    return found if isinstance(found, dict) else stored


def _formatted_options(values: Values) -> str:
    job = registry.of_task(str(values.job))
    name = job.name if job else str(values.job)
    if not isinstance(values.options, dict):
        return secrets.masked_text(name, str(values.options))
    return json_text.format_inline(secrets.masked(name, values.options)) if values.options else ""


def _formatted_timing(timing: Any) -> str:
    match timing:
        case {"cron": expression, **rest}:
            return f"{expression} (Celery's rules)" if rest else str(expression)
        case {"seconds": seconds}:
            return f"every {formats.duration(timedelta(seconds=seconds), parts=4)}"
        case {"at": at}:
            return f"once, at {formats.exact(datetime.fromisoformat(at))}"
        case {"solar": [event, latitude, longitude]}:
            return f"{event} at {latitude}, {longitude}"
        case {"after": list(names), **rest}:
            return chain_words(names, after_failure=bool(rest))
        case {"invalid": text}:
            return f"{text} (not valid)"
    return "not valid"


def _text(value: str) -> str:
    # As a browser sends it back.
    return value.replace("\r\n", "\n").strip()


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()
