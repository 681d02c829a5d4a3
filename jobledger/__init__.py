"""Scheduled jobs for Django: management commands run by Celery, with every run on record.

The public API: ``from jobledger import Concurrency, JobCommand, Schedule``. Names are loaded lazily, so that
settings can import ``Schedule`` and ``Concurrency`` before Django's app registry is ready.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobledger.command import JobCommand
    from jobledger.jobs.declaration import Concurrency, Misfire, PausedSlots, Schedule
    from jobledger.jobs.options.purity import pure

__all__ = ["Concurrency", "JobCommand", "Misfire", "PausedSlots", "Schedule", "pure"]
__version__ = "0.1.0"

_MODULES = {
    "JobCommand": "jobledger.command",
    "pure": "jobledger.jobs.options.purity",
    **dict.fromkeys(("Concurrency", "Misfire", "PausedSlots", "Schedule"), "jobledger.jobs.declaration"),
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
