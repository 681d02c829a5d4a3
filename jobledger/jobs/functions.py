"""Functions that are jobs: those that Django's ``@task`` has given to a backend of this service.

They are looked up in the module ``tasks`` of every installed app, where workers look for them, too. One that
is defined elsewhere is found if that module imports it.

``django.tasks`` is part of Django since 6.0; before, the backport ``django-tasks`` takes its place. Neither
is imported unless the setting ``TASKS`` has a backend of this service.
"""

import inspect
from argparse import BooleanOptionalAction
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, Signature
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils.module_loading import import_string, module_has_submodule

from jobledger.jobs.declaration import Concurrency, JobDeclaration
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.values import json_or_text

F = TypeVar("F")

FRAMEWORKS = ("django.tasks", "django_tasks")
"""Where Django's tasks are: in Django itself, or in the backport."""
OWN_PACKAGE = "jobledger"
MODULE = "tasks"

_DECLARED = "jobledger_attributes"
_SEVERAL = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def framework_name() -> str:
    """The name of the package that has ``task``; empty if there is none. Imports nothing of it."""
    return next((name for name in FRAMEWORKS if find_spec(name) is not None), "")


def framework() -> ModuleType:
    """The package that has ``task``. Raises ImportError if there is none."""
    if not (name := framework_name()):
        raise ImportError("Neither django.tasks (Django 6.0) nor its backport, django-tasks, is installed.")
    return import_module(name)


def named_backends() -> list[str]:
    """The aliases in ``TASKS`` whose backend is one of this service, as far as can be told without it."""
    named: Any = getattr(settings, "TASKS", None)
    if not isinstance(named, Mapping):
        return []
    return [alias for alias, params in named.items() if _is_ours(params)]


def _is_ours(params: Any) -> bool:
    path = params.get("BACKEND") if isinstance(params, Mapping) else None
    if not isinstance(path, str):
        return False
    if path.partition(".")[0] == OWN_PACKAGE:
        return True
    try:
        return bool(framework_name()) and getattr(import_string(path), "records_runs", False) is True
    except ImportError:
        return False  # a check of Django's reports it


# What an author declares


class FunctionDeclaration(JobDeclaration):
    """The attributes of a function. Nobody expects that a second ``enqueue`` is skipped."""

    concurrency = Concurrency.ALLOW


def declare(**attributes: Any) -> Callable[[F], F]:
    """Give a function decorated with ``@task`` the attributes of a job, such as ``time_limit``.

    It may stand above or below ``@task``. Raises TypeError for an attribute that jobs do not have.
    """
    if unknown := sorted(set(attributes) - set(JobDeclaration.__annotations__)):
        known = ", ".join(sorted(JobDeclaration.__annotations__))
        raise TypeError(f"A job has no attribute {', '.join(unknown)}; it can declare: {known}.")

    def decorate(decorated: F) -> F:
        function = getattr(decorated, "func", decorated)
        setattr(function, _DECLARED, {**getattr(function, _DECLARED, {}), **attributes})
        return decorated

    return decorate


# Functions


@dataclass(frozen=True, kw_only=True)
class TaskFunction:
    """A function with Django's ``Task`` of it."""

    name: str
    """Of the job: the app's label and the function's name, as in ``shop:send_invoice``. It has no dots."""
    app_label: str
    task: Any

    @property
    def path(self) -> str:
        """Where it is defined, such as ``shop.tasks.send_invoice``; also the name of its Celery task."""
        return str(self.task.module_path)

    @cached_property
    def signature(self) -> Signature:
        """Its own arguments, without the context."""
        try:
            found = inspect.signature(self.task.func, eval_str=True)
        except Exception:  # noqa: BLE001 - an annotation may name what only a type checker imports
            found = inspect.signature(self.task.func)
        parameters = list(found.parameters.values())
        return found.replace(parameters=parameters[1:] if self.task.takes_context else parameters)

    @property
    def shown_signature(self) -> str:
        """Such as ``shop.tasks.send_invoice(number, copies=1)``."""
        bare = [each.replace(annotation=Parameter.empty) for each in self.signature.parameters.values()]
        return f"{self.path}{Signature(bare)}"

    def options_of(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """The options that stand for the arguments of a call, and which of them were given by position.

        Raises TypeError, as a call would, if the arguments do not fit.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.shown_signature}: {error}") from None
        by_position = [name for name in bound.arguments if name not in kwargs and self._is_positional(name)]
        return by_position, {
            name: list(value) if self.kind_of(name) is Parameter.VAR_POSITIONAL else value
            for name, value in bound.arguments.items()
        }

    def arguments_of(self, options: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the options stand for. Raises OptionsError if they do not fit."""
        parameters = self.signature.parameters
        required = [name for name, each in parameters.items() if _is_required(each)]
        problems = [f"it has no argument {name!r}" for name in options if name not in parameters]
        problems += [f"the argument {name!r} is missing" for name in required if name not in options]
        problems += [
            f"{name}: expected {expected}"
            for kind, (python_type, expected) in _CONTAINERS.items()
            for name in options
            if self.kind_of(name) is kind and not isinstance(options[name], python_type)
        ]
        if problems:
            changed = "It may have changed since the run was queued, or the schedule saved."
            raise OptionsError(f"{self.shown_signature}: {'; '.join(problems)}. {changed}")
        bound = self.signature.bind_partial()
        bound.arguments.update({name: options[name] for name in parameters if name in options})
        bound.apply_defaults()
        return bound.args, bound.kwargs

    def kind_of(self, name: str) -> Any:
        """How the argument of this name is given; None if there is none."""
        parameter = self.signature.parameters.get(name)
        return parameter.kind if parameter else None

    def _is_positional(self, name: str) -> bool:
        return self.kind_of(name) not in (Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD)


_CONTAINERS: Mapping[Any, tuple[type, str]] = {
    Parameter.VAR_POSITIONAL: (list, "a list of positional arguments"),
    Parameter.VAR_KEYWORD: (dict, "an object with keyword arguments"),
}


def _is_required(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind not in _SEVERAL


class FunctionCommand(BaseCommand):
    """Stands for a function where a job's command is expected: its parser has the function's arguments.

    ``handle`` takes the arguments themselves. ``manage.py`` does not know it.
    """

    function: ClassVar[TaskFunction]

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Without the options of ``manage.py``, whose names are left to the function."""
        parser = CommandParser(
            prog=f"{prog_name} {subcommand}",
            description=self.help or None,
            allow_abbrev=False,
            conflict_handler="resolve",
            **kwargs,
        )
        for parameter in self.function.signature.parameters.values():
            parser.add_argument(f"--{parameter.name.replace('_', '-')}", **_settings_of(parameter))
        return parser

    def handle(self, *args: Any, **options: Any) -> Any:
        """Call the function, or return its coroutine."""
        return self.function.task.func(*args, **options)


def _settings_of(parameter: Parameter) -> dict[str, Any]:
    """How argparse is told about an argument. What has no simple type may be any JSON value."""
    settings: dict[str, Any] = {"dest": parameter.name, "required": _is_required(parameter)}
    if isinstance(parameter.default, str | int | float):
        settings["default"] = parameter.default
    match parameter.annotation:
        case _ if parameter.kind in _SEVERAL:
            return {**settings, "type": json_or_text}
        case annotation if annotation is bool:
            return {**settings, "action": BooleanOptionalAction}
        case annotation if annotation in (int, float):
            return {**settings, "type": annotation}
        case annotation if annotation is str:
            return settings
    return {**settings, "type": json_or_text}


def command_class_of(function: TaskFunction) -> type[FunctionCommand]:
    own = {
        "function": function,
        "help": inspect.getdoc(function.task.func) or "",
        "__module__": function.task.func.__module__,
    }
    return type(f"Function_{function.task.func.__name__}", (FunctionCommand,), own)


def declaration_of(function: TaskFunction) -> type[JobDeclaration]:
    declared = getattr(function.task.func, _DECLARED, {})
    return type(f"Declared_{function.task.func.__name__}", (FunctionDeclaration,), dict(declared))


# Discovery


@dataclass(frozen=True, kw_only=True)
class BrokenModule:
    """A module ``tasks`` that could not be imported."""

    name: str
    error: BaseException


def discover() -> Iterator[TaskFunction | BrokenModule]:
    """Every function of every installed app that is recorded by this service, once."""
    if not (aliases := named_backends()) or not framework_name():
        return
    task_class = import_module(f"{framework().__name__}.base").Task
    seen: set[str] = set()
    for app in apps.get_app_configs():
        module = _import_tasks(app)
        if isinstance(module, BrokenModule):
            yield module
        for task in _tasks_in(module, task_class) if isinstance(module, ModuleType) else ():
            if task.backend in aliases and task.module_path not in seen:
                seen.add(task.module_path)
                owner = apps.get_containing_app_config(task.func.__module__) or app
                yield TaskFunction(name=_name(owner, task), app_label=owner.label, task=task)


def _import_tasks(app: AppConfig) -> ModuleType | BrokenModule | None:
    if app.name == OWN_PACKAGE or app.module is None or not module_has_submodule(app.module, MODULE):
        return None
    name = f"{app.name}.{MODULE}"
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything; a check reports it
        return BrokenModule(name=name, error=error)


def _tasks_in(module: ModuleType, task_class: type) -> list[Any]:
    """The tasks that are attributes of the module. Of several of one function, that of its name is first."""
    found: list[tuple[str, Any]] = [
        (name, value) for name, value in vars(module).items() if isinstance(value, task_class)
    ]
    return [task for _, task in sorted(found, key=lambda pair: pair[0] != pair[1].name)]


def _name(owner: AppConfig, task: Any) -> str:
    module = task.func.__module__.removeprefix(f"{owner.name}.")
    parts = [] if module == MODULE else module.split(".")
    return ":".join([owner.label, *parts, *task.func.__qualname__.split(".")])
