"""Hands the end of a run over to another process if its own can no longer record it.

A job may lower its process's limits or change its user for good, or leave no descriptor free; the process
then cannot open the database any more, however long it waits. So the outcome goes into the memory of the run
that outlives the process, and the process exits. Whoever awaits it records the outcome: the worker's main
process, or the child for which it executes an isolated run.

The outcome is left there before it is recorded, too: the process may be killed while the database is away.
"""

import json
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from jobledger.escapes import line_logger
from jobledger.models import Run, Status, Why
from jobledger.runs import attempts
from jobledger.runs.outcome import Outcome
from jobledger.runs.output.capture import Capture
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.resources import Usage
from jobledger.tracing import spans

logger = line_logger(__name__)

MAX_TEXT_LENGTH = 20_000
"""Of the error and of the traceback."""
LIMITS = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_NOFILE,
)
"""Those that recording may exceed."""


class Abilities:
    """What this process may do at the beginning of a run."""

    def __init__(self) -> None:
        self._limits = _limits()
        self._user = _user()

    @property
    def are_lost(self) -> bool:
        """Whether the process may do less now, and cannot be restored.

        Never if other jobs share it: nobody else could record the end, which is retried instead.
        """
        if shared_process.is_shared():
            return False
        return self._are_limits_lower or _user() != self._user or not _can_open()

    @property
    def _are_limits_lower(self) -> bool:
        if (limits := _limits()) == self._limits:
            return False
        pairs = zip(limits, self._limits, strict=True)
        return any(_hard(now) < _hard(before) for now, before in pairs)

    @contextmanager
    def not_blamed(self) -> Iterator[None]:
        """Clean up in the block: if abilities are lost, its errors are no errors of the job."""
        before = logging.raiseExceptions
        # Otherwise, what cannot be written to the log is written to the output of the run.
        logging.raiseExceptions = before and not self.are_lost
        try:
            yield
        except Exception:
            if not self.are_lost:
                raise
        finally:
            logging.raiseExceptions = before


def hand_over(run: Run, outcome: Outcome, captured: Capture) -> None:
    """Leave the outcome to whoever awaits this process, and exit. Returns if nobody does."""
    if not captured.hand_over(as_bytes(run, outcome)):
        return
    with suppress(Exception):
        text = "Run %s of %s ended as %s: its process can no longer record this itself, and is replaced"
        logger.warning(text, run.pk, run.job, outcome.status)
    spans.flush()
    os._exit(os.EX_SOFTWARE)


def received(data: bytes) -> Outcome | None:
    """The outcome that a process has left; None if it has left none."""
    if not data:
        return None
    values: dict[str, Any] = json.loads(data)
    usage = values.pop("usage")
    return Outcome(
        **{**values, "status": Status(values["status"]), "why": Why.read(*values["why"])},
        usage=Usage(**usage) if usage else None,
    )


def as_bytes(run: Run, outcome: Outcome) -> bytes:
    """The outcome, to be left for another process."""
    why, used = outcome.why.columns, outcome.usage
    values = {
        "status": outcome.status,
        "why": [why["reason"], why["reason_details"]],
        "exit_code": outcome.exit_code,
        "exit_signal": outcome.exit_signal,
        "error": outcome.error[:MAX_TEXT_LENGTH],
        "traceback": outcome.traceback[-MAX_TEXT_LENGTH:],
        # The exception itself, which decides, ends with this process.
        "is_worth_retrying": attempts.may_be_retried(run, outcome),
        "usage": used and {"peak_memory_bytes": used.peak_memory_bytes, "cpu_seconds": used.cpu_seconds},
    }
    return json.dumps(values).encode()


def _limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, LIMITS))


def _hard(limits: tuple[int, int]) -> float:
    return float("inf") if limits[1] == resource.RLIM_INFINITY else limits[1]


def _user() -> tuple[int, int]:
    return os.getuid(), os.getgid()


def _can_open() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    return True
