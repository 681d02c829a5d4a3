"""Checks of the jobs, as declared in the code and in the settings."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any

from celery import current_app
from django.core import checks
from django.core.checks import CheckMessage

from jobledger import conf
from jobledger.escapes import escaped
from jobledger.formats import size_from_text
from jobledger.jobs import registry
from jobledger.jobs.declaration import (
    MAX_FAILURES,
    AlertKind,
    Alerts,
    Concurrency,
    Frequency,
    JobDeclaration,
    Schedule,
)
from jobledger.retention.limits import is_valid_keep_for, is_valid_keep_runs
from jobledger.runs.publishing import job_routes
from jobledger.schedules import declared

_ZERO = timedelta(0)
UNFIT: Mapping[str, str] = {
    **dict.fromkeys(("shell", "dbshell"), "gives whoever starts it full access"),
    **dict.fromkeys(("createsuperuser", "changepassword"), "gives whoever starts it the rights of others"),
    **dict.fromkeys(("flush", "loaddata", "migrate"), "deletes or overwrites data"),
    "sqlflush": "prints the SQL that deletes all data",
    "dumpdata": "prints all data, and overwrites files",
    **dict.fromkeys(("runserver", "testserver"), "never ends"),
    **dict.fromkeys(
        ("makemigrations", "squashmigrations", "optimizemigration", "startapp", "startproject"),
        "writes source code",
    ),
    "test": "creates and deletes databases",
    "jobledger": "operates this service itself",
}
"""Commands that should not be exposed, and why."""


def problems(declaration: type[JobDeclaration]) -> Iterator[str]:
    """Yield a message for each invalid value, with what is expected."""
    for name, (is_valid, expected) in RULES.items():
        value = getattr(declaration, name)
        if not is_valid(value):
            yield f"{name} is {value!r}; expected {expected}"


def _is_choice(value: Any) -> bool:
    return value in list(Concurrency)


def _is_limit(value: Any) -> bool:
    return value is None or (isinstance(value, timedelta) and value > _ZERO)


def _is_duration(value: Any) -> bool:
    return isinstance(value, timedelta) and value >= _ZERO


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


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


def _are_enough_failures(value: Any) -> bool:
    return _is_count(1)(value) and bool(value <= MAX_FAILURES)


def _is_failure_limit(value: Any) -> bool:
    return value is None or _are_enough_failures(value)


def _are_kinds(value: Any) -> bool:
    return isinstance(value, Collection) and all(each in list(AlertKind) for each in value)


def _are_alerts(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, Alerts)
        and _are_kinds(value.kinds)
        and _are_enough_failures(value.after_failures)
        and value.frequency in list(Frequency)
        and _is_limit(value.late_after)
        and _are_names(value.destinations)
    )


RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "concurrency": (_is_choice, "one of " + ", ".join(f"Concurrency.{each.name}" for each in Concurrency)),
    "time_limit": (_is_limit, "a positive timedelta, such as timedelta(minutes=30), or None"),
    "memory_limit": (_is_size, 'a size, such as "512 MB" or "2 GB", or None'),
    "isolate": (_is_flag, "True or False"),
    "max_queued": (_is_count(1), "an integer of at least 1"),
    "max_live_per_schedule": (_is_count(1), "an integer of at least 1"),
    "max_live": (_is_count(1), "an integer of at least 1"),
    "time_limit_grace": (_is_duration, "a timedelta, such as timedelta(seconds=30)"),
    "max_retries": (_is_count(0), "an integer of at least 0"),
    "retry_backoff": (_is_duration, "a timedelta, such as timedelta(seconds=30)"),
    "retry_on": (_are_exceptions, "a tuple of exception classes, such as (OSError,), or None"),
    "restart_when_lost": (_is_flag, "True or False"),
    "secret_options": (_are_names, 'a tuple of option names (dest), such as ("pin",)'),
    "worker_options": (_are_names, 'a tuple of option names (dest), such as ("path",)'),
    "alerts": (_are_alerts, "Alerts(…) with kinds of AlertKind and after_failures of at least 1, or None"),
    "expected_duration": (_is_limit, "a positive timedelta, such as timedelta(minutes=5), or None"),
    "success_within": (_is_limit, "a positive timedelta, such as timedelta(days=2), or None"),
    "pause_after_failures": (_is_failure_limit, f"an integer from 1 to {MAX_FAILURES}, or None"),
    "failure_pause": (_is_limit, "a positive timedelta, such as timedelta(hours=1), or None"),
    "runs_while_paused": (_is_flag, "True or False"),
    "queue": declared.RULES["queue"],
    "priority": declared.RULES["priority"],
    "keep_for": (is_valid_keep_for, "a timedelta of at least a day, such as timedelta(days=90), or None"),
    "keep_runs": (is_valid_keep_runs, "an integer of at least 1, or None"),
    "after": (_are_names, 'a tuple of names of schedules, such as ("cleanup_tokens",)'),
    "schedules": (_are_schedules, 'a list of schedules, such as [Schedule("0 3 * * *")]'),
}


def check_jobs(**kwargs: Any) -> list[CheckMessage]:
    """All commands can be imported, all exposed commands exist, and all declarations are valid."""
    return [
        *_unknown_settings(),
        *_import_failures(),
        *_exposed_commands(),
        *_declared_values(),
        *_declared_schedules(),
        *_environments(),
    ]


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
            escaped(
                f"The {failure.kind} {failure.module} cannot be imported, "
                f"so {failure.effect}: {failure.error}"
            ),
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
        if name in UNFIT:
            yield checks.Warning(
                f"EXPOSED_COMMANDS contains {name!r}, which {UNFIT[name]}: whoever can start jobs, or send "
                "messages to the broker, can run it.",
                hint="Remove it. If a job needs a part of it, write a JobCommand that does only that.",
                id="jobledger.W022",
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
        if queue := _missing_queue(job):
            yield checks.Warning(
                f"The job {job.name} declares the queue {queue!r}, which does not exist: its runs fail.",
                hint="Correct the name, or add it to CELERY_TASK_QUEUES, which is all that there is while "
                "CELERY_TASK_CREATE_MISSING_QUEUES is off.",
                id="jobledger.W008",
            )


def _missing_queue(job: registry.Job) -> str:
    """The queue that the job declares, if Celery may not create it, and its settings do not name it."""
    queue = job_routes.completed(job.name, {}).get("queue", "")
    return "" if queue in current_app.amqp.queues or current_app.conf.task_create_missing_queues else queue


def _declared_schedules() -> Iterator[CheckMessage]:
    seen: dict[str, str] = {}
    for problem in declared.setting_problems():
        yield checks.Warning(escaped(f"{problem.text}."), hint=problem.hint or None, id="jobledger.W007")
    if path := declared.cycle():
        yield checks.Warning(
            escaped(f"Declared schedules start after each other: {path}."),
            hint="None is applied. Remove one from the `after` of another.",
            id="jobledger.W029",
        )
    for one in declared.all_declared():
        where = f"The schedule {one.name!r} of the job {one.job.name}"
        if one.name in seen:
            yield checks.Warning(
                f"{where} has the same name as a schedule of the job {seen[one.name]}.",
                hint=declared.UNIQUE_HINT,
                id="jobledger.W006",
            )
        seen[one.name] = one.job.name
        for problem in declared.problems(one):
            yield checks.Warning(f"{where}: {problem.text}", hint=problem.hint or None, id="jobledger.W007")


def _environments() -> Iterator[CheckMessage]:
    for text in declared.unknown_environments():
        yield checks.Warning(
            escaped(f"{text}, which is not one of ENVIRONMENTS."),
            hint='Correct the name, or add it to JOBLEDGER["ENVIRONMENTS"].',
            id="jobledger.W024",
        )
