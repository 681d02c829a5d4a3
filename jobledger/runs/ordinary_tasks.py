"""Ordinary Celery tasks, as opposed to jobs: which ones exist, and which ones may be scheduled.

Tasks of the project's installed apps may be scheduled, whatever their names, and so may tasks listed in
``SCHEDULABLE_TASKS``, such as those of another service. Celery's own tasks never may: they are internal, and
one of them reschedules itself forever.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cache

from celery import current_app
from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from jobledger.conf import settings
from jobledger.jobs import registry

CELERYS_OWN = "celery."


@cache
def known_tasks() -> Mapping[str, str]:
    """This project's Celery tasks, including jobs: the module in which each is defined, by its name."""
    # Not the loader's own import, which would set up Django again and replace Celery's logging configuration.
    autodiscover_modules("tasks")
    current_app.finalize()
    return {name: type(task).__module__ for name, task in current_app.tasks.items()}


def is_reported(task: str) -> bool:
    """Whether a worker of this project would execute the task, and record what becomes of it."""
    return task in known_tasks()


def why_not_schedulable(task: str) -> str:
    """Why this target may not be scheduled, as a clause; empty for jobs and for tasks that may."""
    if registry.of_task(task) is not None:
        return ""
    if not (problem := why_forbidden(task)) and not _is_listed(task) and task not in known_tasks():
        return f"there is no job or task named {task!r}"
    return problem


def why_forbidden(task: str) -> str:
    """Why this ordinary task may not be scheduled, whether or not it exists; empty if it may."""
    if task.startswith(CELERYS_OWN):
        return f"{task!r} is one of Celery's own tasks, which cannot be scheduled"
    if task.partition(".")[0] in _installed_names() or _is_listed(task) or _is_defined_in_an_app(task):
        return ""
    return f"{task!r} does not belong to an app of this project and is not listed in SCHEDULABLE_TASKS"


def _is_listed(task: str) -> bool:
    return any(fnmatchcase(task, pattern) for pattern in settings.SCHEDULABLE_TASKS)


def _is_defined_in_an_app(task: str) -> bool:
    """Whether a registered task, which may have any name, is defined in an installed app."""
    module = known_tasks().get(task, "")
    names = (config.name for config in apps.get_app_configs())
    return any(f"{module}.".startswith(f"{name}.") for name in names)


def _installed_names() -> set[str]:
    configs = list(apps.get_app_configs())
    return {config.label for config in configs} | {config.name.partition(".")[0] for config in configs}
