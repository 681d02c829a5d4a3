"""A project's own Sentry SDK does not report what is reported here.

It sees the exception of a job on the command line, which nobody handles, and what a worker logs about a job
whose process has died. There is no setting for single ones of these, but a hook for all events of a process.
"""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from celery.signals import worker_process_init

from jobledger.conf import settings
from jobledger.models import FAILURES

if TYPE_CHECKING:
    from jobledger.runs.outcome import Outcome

TOLD = "_reported_by_jobledger"
"""The attribute of an exception whose run is reported."""
LOGGER = "jobledger.runs.run_lines"
"""It logs how runs have ended."""

_hooked = set[str]()


def connect() -> None:
    """Add the hook wherever the project has loaded Sentry's SDK."""
    hook()
    worker_process_init.connect(hook, dispatch_uid="jobledger.sentry.doubles")


def hook(**kwargs: object) -> None:
    """Add it once."""
    scope: Any = sys.modules.get("sentry_sdk.scope")
    if scope is not None and settings.SENTRY_DSN and not _hooked:
        _hooked.add(scope.__name__)
        scope.add_global_event_processor(_without_doubles)


def note(outcome: "Outcome") -> None:
    """A run has ended in this way: its exception, if any, is reported."""
    if outcome.cause is not None and outcome.status in FAILURES and settings.SENTRY_DSN:
        hook()
        with suppress(Exception):
            setattr(outcome.cause, TOLD, True)


def _without_doubles(event: Any, hint: Any) -> Any:
    _, error, _ = hint.get("exc_info") or (None, None, None)
    record = hint.get("log_record")
    is_double = getattr(error, TOLD, False) or getattr(record, "name", "") == LOGGER
    return None if is_double else event
