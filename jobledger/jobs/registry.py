"""Discovers jobs: every ``JobCommand`` of the installed apps, the commands in ``EXPOSED_COMMANDS``, and the
functions of Django's tasks whose backend is this service.

If two apps have a command of the same name, the one that Django itself would run is the job. A module that
cannot be imported is recorded as a failure for the system check to report, and does not affect other jobs.
"""

import traceback
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.management import get_commands
from django.core.management.base import BaseCommand, CommandParser
from django.core.signals import setting_changed
from django.db import connections

from jobledger import conf
from jobledger.conf import settings
from jobledger.jobs import functions, sources
from jobledger.jobs.declaration import JobDeclaration
from jobledger.jobs.functions import TaskFunction
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.validation import leave_to_worker

MAX_SUGGESTIONS = 3
_LIBRARIES = {"site-packages", "dist-packages"}
_OPTIONAL = {"shell_command": "SHELL_COMMANDS"}
"""Commands of this package that are jobs only if a setting is not empty."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A management command that can be scheduled, or a function."""

    name: str
    """The command's name, which identifies the job in the ledger; for a function, see ``TaskFunction``."""
    app_label: str
    command_class: type[BaseCommand]
    declaration: type[JobDeclaration]
    function: TaskFunction | None = None
    """None: it is a management command."""

    @property
    def task_name(self) -> str:
        """The Celery task's name: ``<app label>.<command>``, or where the function is defined."""
        return self.function.path if self.function else f"{self.app_label}.{self.name}"

    @property
    def command_words(self) -> tuple[str, ...]:
        """What follows ``manage.py`` on a command line that starts it, before its options."""
        return ("jobledger", "call", self.name) if self.function else (self.name,)

    @property
    def help(self) -> str:
        return str(self.command_class.help)

    @property
    def summary(self) -> str:
        """The first line of the help text."""
        return next((line.strip() for line in self.help.splitlines() if line.strip()), "")

    def create_command(self) -> BaseCommand:
        return self.command_class()

    def create_parser(self) -> CommandParser:
        """A new instance of the command's parser."""
        with _noticed_queries() as queries:
            parser = self.create_command().create_parser("manage.py", self.name)
        worker_options = self.declaration.worker_options
        leave_to_worker(parser, worker_options, choices_are_data=bool(queries))
        return parser

    def create_validating_parser(self) -> CommandParser:
        """The same where one job must not affect others, as in a check. Raises OptionsError if it fails."""
        try:
            return self.create_parser()
        except (Exception, SystemExit) as error:
            raise OptionsError(f"cannot tell its options: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ImportFailure:
    """A module with a command, or with functions, that could not be imported."""

    module: str
    error: str
    """In one line, with the place in the source."""
    kind: str = "command module"
    effect: str = "it is no job"


class UnknownJobError(LookupError):
    """There is no job of that name; the message suggests similar names, or lists all."""


def all_jobs() -> Mapping[str, Job]:
    """All jobs by name, sorted by name."""
    return _scan()[0]


def import_failures() -> tuple[ImportFailure, ...]:
    """The modules that could not be imported."""
    return _scan()[1]


def own_apps() -> list[AppConfig]:
    """The apps of the project, including those that it has copied, without installed libraries."""
    return [app for app in apps.get_app_configs() if not _LIBRARIES.intersection(Path(app.path).parts)]


def of_task(task: str) -> Job | None:
    """The job with this Celery task name; None for an ordinary task, or if the job no longer exists."""
    found = all_jobs().get(task.rpartition(".")[2])
    return found if found and found.task_name == task else _scan()[2].get(task)


def runs_while_paused(task: str) -> bool:
    """Whether the service's pauses do not apply to schedules of this Celery task."""
    job = of_task(task)
    return job is not None and job.declaration.runs_while_paused


def exempt_from_pauses() -> list[Job]:
    """The jobs to which the service's pauses do not apply."""
    return [job for job in all_jobs().values() if job.declaration.runs_while_paused]


def find(name: str) -> Job:
    """The job with this command name or task name. Raises UnknownJobError."""
    found = all_jobs().get(name) or of_task(name)
    if found is None or name not in (found.name, found.task_name):
        raise UnknownJobError(f"There is no job {name!r}. {hint(name, all_jobs().values())}")
    return found


def hint(name: str, jobs: Collection[Job]) -> str:
    """Which of these jobs may be meant by an unknown name; all of them if none is similar."""
    names = [each.task_name if "." in name else each.name for each in jobs]
    existing = f"Existing jobs: {', '.join(each.name for each in jobs)}." if jobs else ""
    return suggestion(name, names) or existing


def suggestion(name: str, names: Iterable[str]) -> str:
    """``Did you mean …?`` with the names of jobs or tasks that are most similar; empty if none is.

    The app label before the last dot may be wrong or missing.
    """
    by_last_part: dict[str, list[str]] = defaultdict(list)
    for each in sorted(names):
        by_last_part[_last_part(each)].append(each)
    found = (
        by_last_part.get(_last_part(name))
        or get_close_matches(name, chain(*by_last_part.values()), n=1, cutoff=0.8)
        or list(chain(*(by_last_part[part] for part in get_close_matches(_last_part(name), by_last_part))))
    )
    return f"Did you mean {' or '.join(found[:MAX_SUGGESTIONS])}?" if found else ""


def _last_part(task: str) -> str:
    return task.rpartition(".")[2]


def declaration_of(name: str) -> type[JobDeclaration]:
    """The job's declaration; the defaults if the job no longer exists."""
    job = all_jobs().get(name)
    return job.declaration if job else JobDeclaration


def exposed_commands() -> Mapping[str, Mapping[str, Any]]:
    """``EXPOSED_COMMANDS`` as a mapping from command name to declared attributes.

    The setting may also be a plain list of names.
    """
    exposed = settings.EXPOSED_COMMANDS
    return exposed if isinstance(exposed, Mapping) else {name: {} for name in exposed}


@contextmanager
def _noticed_queries() -> Iterator[list[str]]:
    """The queries of the block: choices that a command has queried can be different when its job runs."""
    queries: list[str] = []

    def notice(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        queries.append(sql)
        return execute(sql, *args)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(notice))
        yield queries


@cache
def _scan() -> tuple[Mapping[str, Job], tuple[ImportFailure, ...], Mapping[str, Job]]:
    """The jobs by name, the failures, and the functions among the jobs by the names of their tasks."""
    installed = {config.name: config for config in apps.get_app_configs()}
    jobs: dict[str, Job] = {}
    failures: list[ImportFailure] = []
    for name, app_name in sorted(get_commands().items()):
        app = installed.get(app_name)
        if app_name == "jobledger" and not getattr(settings, _OPTIONAL.get(name, ""), True):
            continue
        if name not in exposed_commands() and not (app and sources.may_be_job(app_name, app.path, name)):
            continue
        found = _load(name, app_name, app.label if app else app_name.rpartition(".")[2])
        if isinstance(found, Job):
            jobs[name] = found
        elif found is not None:
            failures.append(found)
    found_functions, broken = _functions()
    jobs.update({job.name: job for job in found_functions})
    by_task = {job.task_name: job for job in found_functions}
    return dict(sorted(jobs.items())), (*failures, *broken), by_task


def _functions() -> tuple[list[Job], list[ImportFailure]]:
    found, failures = list[Job](), list[ImportFailure]()
    for each in functions.discover():
        if isinstance(each, functions.BrokenModule):
            what = {"kind": "module", "effect": "its functions are no jobs"}
            failures.append(ImportFailure(module=each.name, error=_in_one_line(each.error), **what))
            continue
        job = Job(
            name=each.name,
            app_label=each.app_label,
            command_class=functions.command_class_of(each),
            declaration=functions.declaration_of(each),
            function=each,
        )
        found.append(job)
    return found, failures


def _load(name: str, app_name: str, app_label: str) -> Job | ImportFailure | None:
    module = f"{app_name}.management.commands.{name}"
    try:
        command_class = import_module(module).Command
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything; a check reports it
        return ImportFailure(module=module, error=_in_one_line(error))
    declaration = _declaration(name, command_class)
    if declaration is None:
        return None
    return Job(name=name, app_label=app_label, command_class=command_class, declaration=declaration)


def _in_one_line(error: BaseException) -> str:
    found = traceback.extract_tb(error.__traceback__)
    # The first two are this module's and that of import_module.
    frames = [frame for frame in found if not frame.filename.startswith("<frozen importlib")][2:]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}{place}"


def _declaration(name: str, command_class: Any) -> type[JobDeclaration] | None:
    if not isinstance(command_class, type):
        return None
    if issubclass(command_class, JobDeclaration):
        return command_class
    if name in exposed_commands():
        return type(f"Exposed_{name}", (JobDeclaration,), dict(exposed_commands()[name]))
    return None


def _clear_cache(*, setting: str, **kwargs: object) -> None:
    if setting in (conf.NAME, "INSTALLED_APPS", "TASKS"):
        _scan.cache_clear()


setting_changed.connect(_clear_cache)
