"""Schedules as documents: all that users can set of a schedule, as one JSON object.

A document refers to other things by their names, not by primary keys, and leaves out what has its default.
It is what the audit log keeps of a version of a schedule, and what a file of all schedules consists of.
Secrets are masked in it: a mask stands for the stored value, if there is one.

What users do not set is not part of it: runs, pauses and the ledger's state.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from django.db.models import QuerySet, prefetch_related_objects
from django_celery_beat.models import PeriodicTask

from jobledger.calendars.use import names_in
from jobledger.jobs import json_text, registry, secrets
from jobledger.models import AlertRule, Calendar, CalendarKind, DeclaredSchedule, Dialect, SchedulePolicy
from jobledger.runs.publishing import delivery
from jobledger.schedules import stored_schedules
from jobledger.schedules.documents.keys import (
    DEFINITION_KEYS,
    DELIVERY_KEYS,
    KEYS,
    OWN_KEYS,
    POLICY_KEYS,
    RULE_KEYS,
    TEXT,
    Document,
    Key,
    time_text,
    without_defaults,
)
from jobledger.schedules.stored_times import (
    ChainTimes,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
)

_BATCH_SIZE = 500


class NotRepresentableError(ValueError):
    """What is stored is not valid, so that there is no document of it; the message says why."""


def document_of(schedule: PeriodicTask, policy: SchedulePolicy) -> Document:
    """The document of a schedule, saved or not, without its alert rules and origin.

    Raises NotRepresentableError.
    """
    values = {
        **_target(schedule),
        **_timing(schedule, policy),
        **_columns(schedule, OWN_KEYS),
        **_columns(schedule, DELIVERY_KEYS),
        **_columns(policy, POLICY_KEYS),
        **names_in(policy.calendars),
        "left_out": str(policy.left_out),
        "headers": secrets.masked("", _headers(schedule)),
        "imported_line": policy.imported_line,
    }
    if policy.ping_url:
        values["ping_url"] = secrets.MASK
    if schedule.clocked_id is not None:
        # They run only once by their nature.
        values["one_off"] = False
    return _checked(values, KEYS)


def version_of(schedule: PeriodicTask, policy: SchedulePolicy | None = None) -> Document | None:
    """The document with the name, as the audit log keeps it; None if it cannot be kept."""
    try:
        return named(schedule.name, document_of(schedule, policy or SchedulePolicy.of(schedule)))
    except NotRepresentableError:
        return None


def versions_of(ids: Sequence[int]) -> dict[int, Document | None]:
    """The versions of these schedules by primary key, reading them in batches."""
    found: dict[int, Document | None] = {}
    for start in range(0, len(ids), _BATCH_SIZE):
        batch = ids[start : start + _BATCH_SIZE]
        loaded = _loaded(batch)
        found |= {pk: version_of(loaded.schedules[pk]) for pk in batch if pk in loaded.schedules}
        found |= dict.fromkeys(loaded.unreadable)
    return found


def named(name: str, document: Document) -> Document | None:
    """A document with the name; None if the audit log cannot keep it, which no database can with a NUL."""
    found = {"name": name, **document}
    return found if json_text.storable(found) == found else None


def complete_document_of(schedule: PeriodicTask) -> Document:
    """The document of a stored schedule. Raises NotRepresentableError."""
    return _complete(schedule, DeclaredSchedule.objects.filter(schedule=schedule).first())


def all_documents(
    schedules: QuerySet[PeriodicTask],
) -> Iterator[tuple[str, Document | NotRepresentableError]]:
    """Yield the names and the documents of these schedules, by name, reading them in batches."""
    records = DeclaredSchedule.objects.filter(schedule__in=schedules.order_by().values("pk"))
    declared = {each.schedule_id: each for each in records}
    names = dict(schedules.order_by().values_list("pk", "name"))
    # Not in the order of the database's collation.
    ids = iter(sorted(names, key=lambda pk: names[pk]))
    while batch := list(islice(ids, _BATCH_SIZE)):
        loaded = _loaded(batch)
        for pk in batch:
            if pk in loaded.unreadable:
                yield names[pk], NotRepresentableError(f"it cannot be read: {loaded.unreadable[pk]}")
            elif pk in loaded.schedules:
                yield names[pk], _document_or_error(loaded.schedules[pk], declared.get(pk))


def _loaded(ids: Sequence[int]) -> stored_schedules.Loaded:
    """With all that their documents need."""
    loaded = stored_schedules.load_any(ids)
    prefetch_related_objects(list(loaded.schedules.values()), "alert_rules__destinations")
    return loaded


def rule_document(rule: AlertRule) -> Document:
    """The document of an alert rule. Raises NotRepresentableError."""
    names = sorted(each.name for each in rule.destinations.all())
    own = {name: key for name, key in RULE_KEYS.items() if name != "destinations"}
    return _checked({**_columns(rule, own), "destinations": names}, RULE_KEYS)


def calendar_documents(used_in: Iterable[Document] | None = None) -> dict[str, Document]:
    """The documents of calendars by their names: of all, or of those that these schedules use."""
    calendars = Calendar.objects.all()
    if used_in is not None:
        names = {name for each in used_in for kind in CalendarKind for name in each.get(kind, ())}
        calendars = calendars.filter(name__in=names)
    return {each.name: calendar_document(each) for each in calendars}


def calendar_document(calendar: Calendar) -> Document:
    """The document of a calendar: its description, and its entries, one a line."""
    entries = [line.rstrip() for line in calendar.entries.strip().splitlines()]
    return without_defaults(
        {"description": TEXT.json(calendar.description), "entries": entries}, DEFINITION_KEYS
    )


def _document_or_error(
    schedule: PeriodicTask, declared: DeclaredSchedule | None
) -> Document | NotRepresentableError:
    try:
        return _complete(schedule, declared)
    except NotRepresentableError as error:
        return error


def _complete(schedule: PeriodicTask, declared: DeclaredSchedule | None) -> Document:
    rules = sorted(schedule.alert_rules.all(), key=lambda rule: str(rule.name))
    values = {
        **document_of(schedule, SchedulePolicy.of(schedule)),
        "alert_rules": {rule.name: rule_document(rule) for rule in rules},
        "declared_as": declared.name if declared else "",
    }
    return without_defaults(values, KEYS)


def _checked(values: Mapping[str, Any], keys: Mapping[str, Key]) -> Document:
    """Without what is the default. Raises NotRepresentableError for a value that no file may have."""
    found = without_defaults(values, keys)
    for name, value in found.items():
        problem = json_text.problem_with(value)
        if not problem and not keys[name].accepts(value):
            problem = f"expected {keys[name].kind.value}, not {json_text.excerpt(value)}"
        if problem:
            raise NotRepresentableError(f"its {name} cannot be exported: {problem}")
    return found


def _columns(row: Any, keys: Mapping[str, Key]) -> dict[str, Any]:
    return {name: key.json(getattr(row, name)) for name, key in keys.items()}


def _target(schedule: PeriodicTask) -> dict[str, Any]:
    job = registry.of_task(schedule.task)
    options, args = _parsed(schedule, "kwargs", dict), _parsed(schedule, "args", list)
    return {
        "job": job.name if job else "",
        "task": "" if job else schedule.task,
        "args": secrets.masked_args(args),
        "options": secrets.masked(job.name if job else schedule.task, options),
    }


def _parsed(schedule: PeriodicTask, name: str, kind: type) -> Any:
    text = getattr(schedule, name)
    value = _json(text) if text else kind()
    if not isinstance(value, kind):
        raise NotRepresentableError(
            f"its {name} are not a valid JSON {'object' if kind is dict else 'array'}"
        )
    return value


def _json(text: str) -> Any:
    try:
        return json_text.parse(text)
    except ValueError:
        return None


def _headers(schedule: PeriodicTask) -> dict[str, Any]:
    try:
        return delivery.headers_in(schedule.headers)
    except ValueError as error:
        raise NotRepresentableError(f"its message headers are not valid: {error}") from error


def _timing(schedule: PeriodicTask, policy: SchedulePolicy) -> dict[str, Any]:
    dialect = {"dialect": str(policy.dialect)}
    match stored_schedules.of(schedule):
        case CronTimes(expression=expression, zone=zone):
            return {"cron": expression, "timezone": str(zone), **dialect}
        case IntervalTimes(every=every, period=period):
            unit = period.removesuffix("s") if every == 1 else period
            return {"every": f"{every} {unit}", **dialect, **_anchor(schedule, policy)}
        case ClockedTimes(at=at):
            return {"at": time_text(at)}
        case SolarTimes(event=event, latitude=latitude, longitude=longitude):
            place = {"latitude": float(latitude), "longitude": float(longitude)}
            return {"solar": {"event": event, **place}}
        case ChainTimes(after=after, after_failure=after_failure):
            return {"after": list(after), "after_failure": after_failure}
    raise NotRepresentableError("its timing cannot be read")


def _anchor(schedule: PeriodicTask, policy: SchedulePolicy) -> dict[str, str]:
    """What an interval counts from, if that is not its start time."""
    is_start = schedule.start_time is not None and policy.dialect != Dialect.CELERY
    return {} if is_start else {"anchor": time_text(policy.anchor)}
