"""The lines in the log that say that an attempt has started, and how it has ended: one of each.

A message that starts none, such as one that was delivered again, has a line of its own.

On the command line they would be a part of what the command prints, which cron mails: there, they are logged
as JSON only, or else at the level DEBUG.
"""

import logging
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from jobledger.escapes import line_logger
from jobledger.formats import exact
from jobledger.logs.formatters import is_json
from jobledger.logs.running import ATTRIBUTE, LoggedRun
from jobledger.logs.service import COMMAND, service
from jobledger.models import Run, Status
from jobledger.runs import reasons
from jobledger.runs.outcome import Outcome

logger = line_logger(__name__)

_LEVELS = {Status.SUCCEEDED: logging.INFO, Status.CANCELLED: logging.INFO, Status.LOST: logging.ERROR}


def logged(run: Run) -> LoggedRun:
    """What is logged of the run, as long as it is in this attempt."""
    return LoggedRun(
        job=run.job,
        run_id=str(run.pk),
        attempt=run.attempt,
        schedule=run.schedule_name,
        trigger=run.trigger,
        options=run.options,
    )


def started(run: Run) -> None:
    """To be called where it is executed."""
    _log(logging.INFO, logged(run), "Run %s of %s started", run.pk, run.job)


def not_started(job: str, pk: UUID) -> None:
    """To be called where a message of the run has started nothing."""
    text = (
        "A message of run %s of %s starts nothing: the run has ended, is running, has to wait or was deleted"
    )
    _log(logging.INFO, LoggedRun(job=job, run_id=str(pk)), text, pk, job)


def ended(run: Run, outcome: Outcome, *, again_at: datetime | None = None) -> None:
    """To be called once that is recorded. The next attempt, if any, is not before ``again_at``."""
    ended_at = outcome.ended_at or timezone.now()
    took = max((ended_at - run.started_at).total_seconds(), 0.0) if run.started_at else None
    facts = {
        "status": str(outcome.status),
        "duration_seconds": None if took is None else round(took, 3),
        "exit_code": outcome.exit_code,
        "exit_signal": outcome.exit_signal,
        "reason": str(outcome.why.reason or ""),
        "retried_at": again_at,
    }
    text = "Run %s of %s ended as %s%s%s%s"
    after = "" if took is None else f" after {took:.2f} s"
    code = "" if outcome.exit_code is None else f", exit code {outcome.exit_code}"
    level = _LEVELS.get(outcome.status, logging.WARNING)
    given = {name: value for name, value in facts.items() if value not in (None, "")}
    why = _why(run, outcome, again_at)
    _log(level, logged(run), text, run.pk, run.job, outcome.status, after, code, why, **given)


def _why(run: Run, outcome: Outcome, again_at: datetime | None) -> str:
    """After the other facts: why it did not succeed, and when it is tried again."""
    why = "" if outcome.status is Status.SUCCEEDED else reasons.explanation(outcome.of_run(run))
    found = f": {why}" if why else ""
    if again_at is None:
        return found
    return f"{found.removesuffix('.')}; attempt {run.attempt + 1} starts at {exact(again_at)}"


def _log(level: int, run: LoggedRun, text: str, *args: object, **facts: Any) -> None:
    if not logger.isEnabledFor(level):
        return
    # A lost run is another process's.
    if level < logging.ERROR and service() == COMMAND and not is_json():
        level = logging.DEBUG
    logger.log(level, text, *args, extra={ATTRIBUTE: run, **facts})
