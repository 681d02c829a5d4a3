"""Scheduled jobs for Django: management commands run by Celery, with every run on record.

The public API: ``from jobledger import Concurrency, JobCommand, Schedule``. Names are loaded lazily, so that
settings can import ``Schedule`` and ``Concurrency`` before Django's app registry is ready.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobledger.command import JobCommand
    from jobledger.jobs.declaration import (
        AlertKind,
        Alerts,
        Calendars,
        Concurrency,
        Frequency,
        LeftOutSlots,
        Misfire,
        PausedSlots,
        Schedule,
        SolarEvent,
    )
    from jobledger.jobs.options.purity import pure

__all__ = [
    "AlertKind",
    "Alerts",
    "Calendars",
    "Concurrency",
    "Frequency",
    "JobCommand",
    "LeftOutSlots",
    "Misfire",
    "PausedSlots",
    "Schedule",
    "SolarEvent",
    "pure",
]
__version__ = "0.1.0"

_MODULES = {
    **dict.fromkeys(__all__, "jobledger.jobs.declaration"),
    "JobCommand": "jobledger.command",
    "pure": "jobledger.jobs.options.purity",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        if name == "JobCommand":
            _set_up_child_process()
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _set_up_child_process() -> None:
    """Let a spawned process import the job's module, for a function in it, before anyone has set up Django.

    ``JobCommand`` needs the models. Without it, a command's module can usually be imported at any time.
    """
    import django
    from django.apps import apps

    from jobledger.runs.processes.multiprocessing_internals import is_child

    if is_child() and not (apps.apps_ready or apps.loading) and "DJANGO_SETTINGS_MODULE" in os.environ:
        django.setup()
