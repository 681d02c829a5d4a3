"""System checks: what is wrong with a job is said by ``manage.py check``, not by a traceback at 03:00.

They are warnings: an error would keep every other command from running, also jobs from the command line.
"""

import json
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

from jobledger.escapes import escaped
from jobledger.jobs import registry, secrets
from jobledger.jobs.declaration import Concurrency, JobDeclaration, Schedule
from jobledger.jobs.options import OptionsError, option_names, validate_options
from jobledger.runs.publishing import delivery
from jobledger.schedules import declared, slot_runs, stored_schedules

_ZERO = timedelta(0)
_SCHEDULE_HINT = (
    'Examples: Schedule("30 3 * * mon-fri"), Schedule("@daily"), Schedule(every=timedelta(hours=2)).'
)


def problems(declaration: type[JobDeclaration]) -> Iterator[str]:
    """A sentence for each value that makes no sense, with what would be right."""
    for name, (is_right, wanted) in RULES.items():
        value = getattr(declaration, name)
        if not is_right(value):
            yield f"{name} is {value!r}; wanted: {wanted}"


def _is_choice(value: Any) -> bool:
    return value in set(Concurrency)


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, timedelta) and value > _ZERO)


def _is_length(value: Any) -> bool:
    return isinstance(value, timedelta) and value >= _ZERO


def _is_count(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


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
    "time_limit": (_is_limit, "a timedelta above 0, such as timedelta(minutes=30), or None"),
    "max_queued": (_is_count(1), "a whole number of at least 1"),
    "max_live_per_schedule": (_is_count(1), "a whole number of at least 1"),
    "max_live": (_is_count(1), "a whole number of at least 1"),
    "time_limit_grace": (_is_length, "a timedelta, such as timedelta(seconds=30)"),
    "max_retries": (_is_count(0), "a whole number of at least 0"),
    "retry_backoff": (_is_length, "a timedelta, such as timedelta(seconds=30)"),
    "retry_on": (_are_exceptions, "a tuple of exception classes, such as (OSError,), or None"),
    "restart_when_lost": (lambda value: isinstance(value, bool), "True or False"),
    "secret_options": (_are_names, 'a tuple of options by their dest, such as ("pin",)'),
    "schedules": (_are_schedules, 'a list of schedules, such as [Schedule("0 3 * * *")]'),
}


@register()
def check_jobs(**kwargs: Any) -> list[CheckMessage]:
    """Every command can be imported, every exposed one exists, and what jobs declare is possible."""
    return [
        *_import_failures(),
        *_exposed_commands(),
        *_declared_values(),
        *_declared_schedules(),
        *_secret_options(),
        *_beat_schedule(),
    ]


@register(Tags.database)
def check_schedules(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Every enabled schedule can start something, and the job's parser takes its options."""
    # `migrate` runs this check before the first migration has made the table.
    if "default" not in (databases or []) or not _has_table(PeriodicTask._meta.db_table):
        return []
    return list(_stored_schedules())


def _import_failures() -> Iterator[CheckMessage]:
    for failure in registry.import_failures():
        yield checks.Warning(
            f"The command module {failure.module} cannot be imported: {failure.error}",
            hint=f"It hides no other job, but cannot run itself.\n{failure.traceback}",
            id="jobledger.W003",
        )


def _exposed_commands() -> Iterator[CheckMessage]:
    attributes = set(JobDeclaration.__annotations__)
    for name, values in registry.exposed_commands().items():
        if name not in registry.all_jobs() and not _is_reported(name):
            yield checks.Warning(
                f"EXPOSED_COMMANDS names {name!r}, but no installed app has such a command.",
                hint="Correct the name, or install the app.",
                id="jobledger.W004",
            )
        if unknown := sorted(set(values) - attributes):
            yield checks.Warning(
                f"EXPOSED_COMMANDS[{name!r}] declares {', '.join(unknown)}, which a job does not have.",
                hint=f"A job may declare: {', '.join(sorted(attributes))}.",
                id="jobledger.W005",
            )


def _is_reported(name: str) -> bool:
    return any(failure.module.rpartition(".")[2] == name for failure in registry.import_failures())


def _declared_values() -> Iterator[CheckMessage]:
    for job in registry.all_jobs().values():
        for message in problems(job.declaration):
            yield checks.Warning(
                f"The job {job.name} declares what makes no sense: {message}.", id="jobledger.W008"
            )


def _declared_schedules() -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for one in declared.all_declared():
        where = f"The schedule {one.name!r} of the job {one.job.name}"
        if one.name in seen:
            yield checks.Warning(
                f"{where} has the name of a schedule of the job {seen[one.name]}.",
                hint="Give each schedule a name of its own: Schedule(…, name=…).",
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
                hint="secret_options names options by their dest; these protect nothing.",
                id="jobledger.W009",
            )


def _beat_schedule() -> Iterator[CheckMessage]:
    if getattr(settings, "CELERY_BEAT_SCHEDULE", None):
        yield checks.Warning(
            "CELERY_BEAT_SCHEDULE is set, but its entries are not read.",
            hint="Declare schedules with the job, JobCommand.schedules, or make them in the admin.",
            id="jobledger.W002",
        )


def _has_table(name: str) -> bool:
    return name in connection.introspection.table_names()


@dataclass(frozen=True, kw_only=True)
class _Fault:
    """What is wrong with what a schedule starts."""

    text: str
    hint: str
    id: str


class _TargetValidator:
    """Validates what schedules start: equal ones once, with one parser of each job, since many are alike."""

    def __init__(self) -> None:
        self.fault_of = cache(self._fault_of)
        self._parser_of = cache(registry.Job.create_parser)

    def _fault_of(self, task: str, args: str, kwargs: str) -> _Fault | None:
        job = registry.of_task(task)
        if job and (problem := self._problem_with(job, kwargs)):
            text = f"has options that {task} does not take: {problem}"
            hint = "Its runs will fail. Correct its options in the admin."
            return _Fault(text=text, hint=hint, id="jobledger.W001")
        if reason := slot_runs.why_broken(PeriodicTask(task=task, args=args, kwargs=kwargs)):
            hint = "It starts nothing. Fix it in the admin, or disable it there."
            return _Fault(text=f"is broken: {reason}", hint=hint, id="jobledger.W010")
        return None

    def _problem_with(self, job: registry.Job, kwargs: str) -> str:
        try:
            options = json.loads(kwargs or "{}")
        except ValueError as error:
            return str(error)
        if not isinstance(options, dict):
            return "they are no JSON object"
        try:
            validate_options(self._parser_of(job), options)
        except OptionsError as error:
            return secrets.without_secrets(job.name, options, str(error))
        return ""


def _stored_schedules() -> Iterator[CheckMessage]:
    yield from _what_they_start()
    yield from _how_they_are_delivered()
    yield from _when_they_do()


def _when_they_do() -> Iterator[CheckMessage]:
    for name, schedule, unreadable in stored_schedules.each_enabled("pk"):
        if reason := stored_schedules.why_broken(schedule) if schedule else unreadable:
            text = f"The schedule {name!r} is broken: {reason}"
            hint = "It starts nothing. Fix its times in the admin, or disable it there."
            yield checks.Warning(escaped(text), hint=hint, id="jobledger.W010")


def _what_they_start() -> Iterator[CheckMessage]:
    validator = _TargetValidator()
    # Their values alone: a schedule whose times cannot be read would hide the others.
    enabled = PeriodicTask.objects.filter(enabled=True).order_by("pk")
    for name, task, args, kwargs in enabled.values_list("name", "task", "args", "kwargs"):
        if fault := validator.fault_of(task, args, kwargs):
            yield checks.Warning(escaped(f"The schedule {name!r} {fault.text}"), hint=fault.hint, id=fault.id)


def _how_they_are_delivered() -> Iterator[CheckMessage]:
    names = ("name", "headers", *delivery.ROUTING)
    for values in PeriodicTask.objects.filter(enabled=True).order_by("pk").values(*names):
        schedule = PeriodicTask(**values)
        for problem in delivery.problems_with(schedule):
            hint = "Correct it under “Celery delivery” on its page in the admin."
            yield checks.Warning(f"The schedule {schedule.name!r}: {problem}", hint=hint, id="jobledger.W011")
