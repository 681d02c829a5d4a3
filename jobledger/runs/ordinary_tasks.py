"""Ordinary Celery tasks, beside jobs: which there are, and which may be scheduled.

Those of the project's installed apps may, and what ``SCHEDULABLE_TASKS`` names, for example tasks of another
service. Celery's own never may: they are parts of its machinery, and one of them sends itself again for ever.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache

from celery import current_app
from django.apps import apps
from django.conf import settings
from django.utils.module_loading import autodiscover_modules

from jobledger.jobs import registry

CELERYS_OWN = "celery."


@cache
def known_tasks() -> frozenset[str]:
    """The names of this project's Celery tasks, jobs among them."""
    # Not the loader's own import, which sets Django up again, and with it the logging that Celery set up.
    autodiscover_modules("tasks")
    current_app.finalize()
    return frozenset(current_app.tasks)


def why_refused(task: str) -> str:
    """Why no schedule may have this target, in a sentence's part; empty for a job, and where it may."""
    if registry.of_task(task) is not None:
        return ""
    if not (problem := why_forbidden(task)) and not _is_named(task) and task not in known_tasks():
        return f"there is no longer a job or task named {task!r}"
    return problem


def why_forbidden(task: str) -> str:
    """Why this ordinary task may not be scheduled, whether or not it exists; empty where it may."""
    if task.startswith(CELERYS_OWN):
        return f"{task!r} is one of Celery's own tasks, which cannot be scheduled"
    if task.partition(".")[0] not in _installed_names() and not _is_named(task):
        return f"{task!r} belongs to no app of this project, and SCHEDULABLE_TASKS does not name it"
    return ""


def _is_named(task: str) -> bool:
    patterns: Sequence[str] = getattr(settings, "SCHEDULABLE_TASKS", ())
    return any(fnmatchcase(task, pattern) for pattern in patterns)


def _installed_names() -> set[str]:
    configs = list(apps.get_app_configs())
    return {config.label for config in configs} | {config.name.partition(".")[0] for config in configs}
