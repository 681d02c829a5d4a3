"""Checks of what is in the database: the schedules, and the destinations of alerts that jobs name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from itertools import chain
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.alerts.rules import unusable_destinations
from jobledger.calendars.calendar import calendar
from jobledger.calendars.errors import CalendarError
from jobledger.checks import invalid_values
from jobledger.checks.project import service_models
from jobledger.conf import settings
from jobledger.escapes import escaped
from jobledger.health.problem import listed
from jobledger.jobs import registry, secrets
from jobledger.jobs.options import OptionsError, validate_options
from jobledger.models import Calendar
from jobledger.runs.publishing import delivery, job_routes
from jobledger.schedules import declared, stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.chains.cycles import path_of
from jobledger.schedules.chains.obstacles import lasting_obstacle
from jobledger.schedules.due import slot_runs
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import next_slot
from jobledger.schedules.rules.surprises import all_surprises

_TARGET_FIELDS = ("task", "args", "kwargs", *job_routes.ROUTING)


def check_schedules(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Every enabled schedule can be evaluated, and its options are valid; jobs name usable destinations."""
    # `migrate` runs this check before it has created the tables, or added the columns of this version.
    if DEFAULT_DB_ALIAS not in (databases or []) or not _are_tables_current():
        return []
    return [
        *_stored_schedules(),
        *_unusable_destinations(),
        *_calendars(),
        *_missing_calendars(),
        *_cycles(),
        *_monitors_of_nothing(),
        *invalid_values.found(),
    ]


def _are_tables_current() -> bool:
    """Whether the tables have all columns that this version of the code knows."""
    tables = set(connection.introspection.table_names())
    models = service_models()
    return tables.issuperset(model._meta.db_table for model in models) and all(
        _columns_of(model) <= _stored_columns(model) for model in models
    )


def _columns_of(model: type[Model]) -> set[str | None]:
    return {field.column for field in model._meta.local_concrete_fields}


def _stored_columns(model: type[Model]) -> set[str]:
    # `get_table_description` parses the SQL of SQLite's tables: it took a quarter of the time of a command.
    with connection.cursor() as cursor:
        table = connection.ops.quote_name(model._meta.db_table)
        cursor.execute(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608 - the name of a table of ours
        return {name for name, *_ in cursor.description}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An error in a schedule's target."""

    text: str
    hint: str
    id: str
    is_broken: bool = False
    """Whether the schedule starts nothing at all."""


class TargetValidator:
    """Validates targets. Many schedules have the same one, so results and parsers are cached."""

    def __init__(self) -> None:
        self.fault_of = cache(self._fault_of)
        self._parser_of = cache(registry.Job.create_validating_parser)

    def _fault_of(self, *values: str | None) -> Fault | None:
        schedule = PeriodicTask(**dict(zip(_TARGET_FIELDS, values, strict=True)))
        try:
            target = slot_runs.target_of(schedule)
        except slot_runs.BrokenScheduleError as error:
            hint = "It starts nothing. Fix it in the admin, or disable it there."
            return Fault(text=f"is broken: {error}", hint=hint, id="jobledger.W010", is_broken=True)
        job = registry.of_task(schedule.task)
        if job and (problem := self._problem_with(job, target.options)):
            text = f"has options that are not valid for {schedule.task}: {problem}"
            hint = "Its runs will fail. Correct its options in the admin."
            return Fault(text=text, hint=hint, id="jobledger.W001")
        return None

    def _problem_with(self, job: registry.Job, options: dict[str, Any]) -> str:
        try:
            validate_options(self._parser_of(job), options)
        except OptionsError as error:
            return secrets.without_secrets(job.name, options, str(error))
        return ""


def _stored_schedules() -> Iterator[CheckMessage]:
    yield from _invalid_messages()
    yield from _invalid_timing()


def _cycles() -> Iterator[CheckMessage]:
    if path := path_of(links.stored_cycle()):
        text = f"Schedules start after each other, so that none of them ever does: {path}."
        hint = "Give one of them other predecessors, or times, in the admin."
        yield checks.Warning(escaped(text), hint=hint, id="jobledger.W029")


def _monitors_of_nothing() -> Iterator[CheckMessage]:
    """Names of jobs and schedules that have a cron monitor in Sentry, of which there are none."""
    if not settings.SENTRY_MONITORS:
        return
    schedules = PeriodicTask.objects.values_list("name", "task")
    names = {*registry.all_jobs(), *chain.from_iterable(schedules)}
    for pattern in settings.SENTRY_MONITORS:
        if not any(fnmatchcase(name, pattern) for name in names):
            text = f"SENTRY_MONITORS has {pattern!r}, but no job and no schedule has that name."
            hint = "Correct or remove it; `*` stands for any characters."
            yield checks.Warning(escaped(text), hint=hint, id="jobledger.W033")


def _unusable_destinations() -> Iterator[CheckMessage]:
    for job, names in unusable_destinations(registry.all_jobs().values()).items():
        text = f"The job {job!r} names destinations that do not exist or cannot be used: {listed(names)}."
        hint = "Add, enable or rename them in the admin; until then, the general ones may be used."
        yield checks.Warning(escaped(text), hint=hint, id="jobledger.W023")


def _calendars() -> Iterator[CheckMessage]:
    """Calendars that cannot be evaluated, or are over."""
    # Not `timezone.now`, which has no zone if the project is misconfigured, which another check reports.
    today = timezone.localtime(datetime.now(UTC)).date()
    for name, entries in Calendar.objects.order_by("name").values_list("name", "entries"):
        try:
            found = calendar(name, entries)
        except CalendarError as error:
            hint = "The schedules that use it start nothing. Correct it in the admin."
            yield checks.Warning(
                escaped(f"The calendar {name!r} is not valid: {error}"), hint=hint, id="jobledger.W026"
            )
            continue
        if found.end is not None and found.end < today:
            text = f"The calendar {name!r} has no days after {found.end}."
            hint = "Remove it from its schedules, or add entries."
            yield checks.Info(escaped(text), hint=hint, id="jobledger.I002")


def _missing_calendars() -> Iterator[CheckMessage]:
    """Calendars that schedules declared in code name: without them, no declared schedule is applied."""
    for name, one in declared.missing_calendars(Calendar.objects.values_list("name", flat=True)).items():
        which = f"The schedule {one.name!r} of the job {one.job.name!r}"
        text = f"{which} names a calendar {name!r}, which does not exist."
        hint = "Add it in the admin, or give it this name again; until then, `sync` changes nothing."
        yield checks.Warning(escaped(text), hint=hint, id="jobledger.W028")


def _never_runs(name: str, schedule: PeriodicTask) -> Iterator[CheckMessage]:
    """Schedules that would run, but for their calendars."""
    times, now = stored_schedules.times_of(schedule), timezone.now()
    if not times.calendars or next_slot(times.rule, now, window=times.window) is None:
        return
    if next_slot(times.due_rule, now, window=times.window) is None:
        text = f"The schedule {name!r} never runs: its calendars leave no time for it."
        hint = "Remove one of its calendars, or disable it."
        yield checks.Warning(escaped(text), hint=hint, id="jobledger.W027")


def _never_follows(name: str, schedule: PeriodicTask) -> Iterator[CheckMessage]:
    """Schedules that start after others which start nothing themselves."""
    if why := lasting_obstacle(schedule):
        text = f"The schedule {name!r} does not start: {why}."
        hint = "Enable what it starts after, let it start after others, or disable it."
        yield checks.Warning(escaped(text), hint=hint, id="jobledger.W030")


def _invalid_timing() -> Iterator[CheckMessage]:
    for name, schedule, unreadable in stored_schedules.each_enabled("pk"):
        if reason := stored_schedules.why_broken(schedule) if schedule else unreadable:
            text = f"The schedule {name!r} is broken: {reason}"
            hint = "It starts nothing. Fix its timing in the admin, or disable it there."
            yield checks.Warning(escaped(text), hint=hint, id="jobledger.W010")
        elif schedule:
            yield from _surprises(name, schedule)
            yield from _never_runs(name, schedule)
            yield from _never_follows(name, schedule)


def _surprises(name: str, schedule: PeriodicTask) -> Iterator[CheckMessage]:
    rule = stored_schedules.times_of(schedule).rule
    if not isinstance(rule, Cron):
        return
    for surprise in all_surprises(rule, timezone.now()):
        text = f"The schedule {name!r} ({rule.expression}): {surprise}."
        hint = "If that is intended, there is nothing to do."
        yield checks.Info(escaped(text), hint=hint, id="jobledger.I001")


def _invalid_messages() -> Iterator[CheckMessage]:
    """Targets, and headers."""
    validator = TargetValidator()
    # Values instead of instances: a schedule whose timing cannot be read would hide the others.
    enabled = PeriodicTask.objects.filter(enabled=True).order_by("pk")
    for name, headers, *values in enabled.values_list("name", "headers", *_TARGET_FIELDS):
        if fault := validator.fault_of(*values):
            yield checks.Warning(escaped(f"The schedule {name!r} {fault.text}"), hint=fault.hint, id=fault.id)
        for problem in delivery.problems_with_headers(headers):
            hint = "Correct it under “Celery delivery” on its page in the admin."
            yield checks.Warning(escaped(f"The schedule {name!r}: {problem}"), hint=hint, id="jobledger.W011")
