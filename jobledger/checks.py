"""System checks: ``manage.py check`` reports misconfigured jobs, before they fail at 03:00.

All are warnings: an error would keep every command from running, including jobs from the command line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobledger import conf
from jobledger.escapes import escaped
from jobledger.formats import size_from_text
from jobledger.jobs import registry, secrets
from jobledger.jobs.declaration import Concurrency, JobDeclaration, Schedule
from jobledger.jobs.options import OptionsError, option_names, validate_options
from jobledger.runs.publishing import delivery
from jobledger.schedules import declared, slot_runs, stored_schedules

_ZERO = timedelta(0)
_TARGET_FIELDS = ("task", "args", "kwargs", *delivery.ROUTING)
_SCHEDULE_HINT = (
    'Examples: Schedule("30 3 * * mon-fri"), Schedule("@daily"), Schedule(every=timedelta(hours=2)).'
)


def problems(declaration: type[JobDeclaration]) -> Iterator[str]:
    """Yield a message for each invalid value, with what is expected."""
    for name, (is_valid, expected) in RULES.items():
        value = getattr(declaration, name)
        if not is_valid(value):
            yield f"{name} is {value!r}; expected {expected}"


def _is_choice(value: Any) -> bool:
    return value in set(Concurrency)


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, timedelta) and value > _ZERO)


def _is_duration(value: Any) -> bool:
    return isinstance(value, timedelta) and value >= _ZERO


def _is_size(value: Any) -> bool:
    return value is None or (isinstance(value, str) and size_from_text(value) is not None)


def _is_count(minimum: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _are_exceptions(value: Any) -> bool:
    return value is None or (
        isinstance(value, tuple)
        and all(isinstance(each, type) and issubclass(each, Exception) for each in value)
    )


def _are_schedules(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, Schedule) for each in value)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "concurrency": (_is_choice, "one of " + ", ".join(f"Concurrency.{each.name}" for each in Concurrency)),
    "time_limit": (_is_limit, "a positive timedelta, such as timedelta(minutes=30), or None"),
    "memory_limit": (_is_size, 'a size, such as "512 MB" or "2 GB", or None'),
    "max_queued": (_is_count(1), "an integer of at least 1"),
    "max_live_per_schedule": (_is_count(1), "an integer of at least 1"),
    "max_live": (_is_count(1), "an integer of at least 1"),
    "time_limit_grace": (_is_duration, "a timedelta, such as timedelta(seconds=30)"),
    "max_retries": (_is_count(0), "an integer of at least 0"),
    "retry_backoff": (_is_duration, "a timedelta, such as timedelta(seconds=30)"),
    "retry_on": (_are_exceptions, "a tuple of exception classes, such as (OSError,), or None"),
    "restart_when_lost": (lambda value: isinstance(value, bool), "True or False"),
    "secret_options": (_are_names, 'a tuple of option names (dest), such as ("pin",)'),
    "schedules": (_are_schedules, 'a list of schedules, such as [Schedule("0 3 * * *")]'),
}


@register()
def check_jobs(**kwargs: Any) -> list[CheckMessage]:
    """All commands can be imported, all exposed commands exist, and all declarations are valid."""
    return [
        *_unknown_settings(),
        *_import_failures(),
        *_exposed_commands(),
        *_declared_values(),
        *_declared_schedules(),
        *_secret_options(),
        *_beat_schedule(),
    ]


@register(Tags.database)
def check_schedules(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Every enabled schedule can be evaluated, and its options are valid for its job."""
    # `migrate` runs this check before the first migration has created the table.
    if "default" not in (databases or []) or not _has_table(PeriodicTask._meta.db_table):
        return []
    return list(_stored_schedules())


def _unknown_settings() -> Iterator[CheckMessage]:
    for key, nearest in conf.unknown_keys():
        yield checks.Warning(
            f"JOBLEDGER contains {key!r}, which is not one of its keys and has no effect.",
            hint=f"Did you mean {nearest}?" if nearest else f"Its keys are {', '.join(conf.RULES)}.",
            id="jobledger.W012",
        )


def _import_failures() -> Iterator[CheckMessage]:
    for failure in registry.import_failures():
        yield checks.Warning(
            f"The command module {failure.module} cannot be imported: {failure.error}",
            hint=f"Other jobs are not affected, but this one cannot run.\n{failure.traceback}",
            id="jobledger.W003",
        )


def _exposed_commands() -> Iterator[CheckMessage]:
    attributes = set(JobDeclaration.__annotations__)
    for name, values in registry.exposed_commands().items():
        if name not in registry.all_jobs() and not _is_reported(name):
            yield checks.Warning(
                f"EXPOSED_COMMANDS contains {name!r}, but no installed app has such a command.",
                hint="Correct the name, or install the app.",
                id="jobledger.W004",
            )
        if unknown := sorted(set(values) - attributes):
            yield checks.Warning(
                f"EXPOSED_COMMANDS[{name!r}] sets unknown attributes: {', '.join(unknown)}.",
                hint=f"A job can declare: {', '.join(sorted(attributes))}.",
                id="jobledger.W005",
            )


def _is_reported(name: str) -> bool:
    return any(failure.module.rpartition(".")[2] == name for failure in registry.import_failures())


def _declared_values() -> Iterator[CheckMessage]:
    for job in registry.all_jobs().values():
        for message in problems(job.declaration):
            yield checks.Warning(
                f"The job {job.name} has an invalid declaration: {message}.", id="jobledger.W008"
            )


def _declared_schedules() -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for one in declared.all_declared():
        where = f"The schedule {one.name!r} of the job {one.job.name}"
        if one.name in seen:
            yield checks.Warning(
                f"{where} has the same name as a schedule of the job {seen[one.name]}.",
                hint="Give each schedule a unique name: Schedule(…, name=…).",
                id="jobledger.W006",
            )
        seen[one.name] = one.job.name
        for message in declared.problems(one):
            yield checks.Warning(f"{where}: {message}", hint=_SCHEDULE_HINT, id="jobledger.W007")


def _secret_options() -> Iterator[CheckMessage]:
    for job in registry.all_jobs().values():
        secret = set(job.declaration.secret_options)
        unknown = sorted(secret.difference(option_names(job.create_parser()))) if secret else []
        if unknown:
            yield checks.Warning(
                f"The job {job.name} declares {', '.join(unknown)} as secret, but has no such option.",
                hint="secret_options must contain the dest of each option; unknown names have no effect.",
                id="jobledger.W009",
            )


def _beat_schedule() -> Iterator[CheckMessage]:
    if getattr(settings, "CELERY_BEAT_SCHEDULE", None):
        yield checks.Warning(
            "CELERY_BEAT_SCHEDULE is set, but it is ignored.",
            hint="Declare schedules in JobCommand.schedules, or create them in the admin.",
            id="jobledger.W002",
        )


def _has_table(name: str) -> bool:
    return name in connection.introspection.table_names()


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """An error in a schedule's target."""

    text: str
    hint: str
    id: str


class _TargetValidator:
    """Validates targets. Many schedules have the same one, so results and parsers are cached."""

    def __init__(self) -> None:
        self.fault_of = cache(self._fault_of)
        self._parser_of = cache(registry.Job.create_parser)

    def _fault_of(self, *values: str | None) -> _Fault | None:
        schedule = PeriodicTask(**dict(zip(_TARGET_FIELDS, values, strict=True)))
        try:
            target = slot_runs.target_of(schedule)
        except slot_runs.BrokenScheduleError as error:
            hint = "It starts nothing. Fix it in the admin, or disable it there."
            return _Fault(text=f"is broken: {error}", hint=hint, id="jobledger.W010")
        job = registry.of_task(schedule.task)
        if job and (problem := self._problem_with(job, target.options)):
            text = f"has options that are not valid for {schedule.task}: {problem}"
            hint = "Its runs will fail. Correct its options in the admin."
            return _Fault(text=text, hint=hint, id="jobledger.W001")
        return None

    def _problem_with(self, job: registry.Job, options: dict[str, Any]) -> str:
        try:
            validate_options(self._parser_of(job), options)
        except OptionsError as error:
            return secrets.without_secrets(job.name, options, str(error))
        return ""


def _stored_schedules() -> Iterator[CheckMessage]:
    yield from _invalid_targets()
    yield from _invalid_headers()
    yield from _invalid_timing()


def _invalid_timing() -> Iterator[CheckMessage]:
    for name, schedule, unreadable in stored_schedules.each_enabled("pk"):
        if reason := stored_schedules.why_broken(schedule) if schedule else unreadable:
            text = f"The schedule {name!r} is broken: {reason}"
            hint = "It starts nothing. Fix its timing in the admin, or disable it there."
            yield checks.Warning(escaped(text), hint=hint, id="jobledger.W010")


def _invalid_targets() -> Iterator[CheckMessage]:
    validator = _TargetValidator()
    # Values instead of instances: a schedule whose timing cannot be read would hide the others.
    enabled = PeriodicTask.objects.filter(enabled=True).order_by("pk")
    for name, *values in enabled.values_list("name", *_TARGET_FIELDS):
        if fault := validator.fault_of(*values):
            yield checks.Warning(escaped(f"The schedule {name!r} {fault.text}"), hint=fault.hint, id=fault.id)


def _invalid_headers() -> Iterator[CheckMessage]:
    enabled = PeriodicTask.objects.filter(enabled=True).order_by("pk")
    for name, headers in enabled.values_list("name", "headers"):
        for problem in delivery.problems_with_headers(headers):
            hint = "Correct it under “Celery delivery” on its page in the admin."
            yield checks.Warning(escaped(f"The schedule {name!r}: {problem}"), hint=hint, id="jobledger.W011")
