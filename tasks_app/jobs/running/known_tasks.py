"""The Celery tasks of this project."""

from functools import cache

from celery import current_app
from django.utils.module_loading import autodiscover_modules


@cache
def known_tasks() -> frozenset[str]:
    """Their names, jobs among them."""
    # Not the loader's own import, which sets Django up again, and with it the logging that Celery set up.
    autodiscover_modules("tasks")
    current_app.finalize()
    return frozenset(current_app.tasks)
