"""Scheduled jobs for Django: management commands run by Celery, every run on record.

Authors import from here: ``from jobledger import Concurrency, JobCommand, Schedule``. The names are
loaded when first asked for, so that a settings file may import ``Schedule`` and ``Concurrency``
before Django's app registry is ready.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobledger.command import JobCommand
    from jobledger.jobs.declaration import Concurrency, Misfire, PausedSlots, Schedule

__all__ = ["Concurrency", "JobCommand", "Misfire", "PausedSlots", "Schedule"]
__version__ = "0.1.0"

_HOMES = {
    "JobCommand": "jobledger.command",
    **dict.fromkeys(("Concurrency", "Misfire", "PausedSlots", "Schedule"), "jobledger.jobs.declaration"),
}


def __getattr__(name: str) -> Any:
    """One of the public names, loaded now."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
