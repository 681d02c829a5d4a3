"""Outcomes: what an exception says about a run, with the exit code that ``manage.py`` would give."""

import traceback
from dataclasses import dataclass
from typing import Any

from django.core.management import CommandError

from jobledger.jobs import options
from jobledger.models import Status
from jobledger.runs.lease.interrupts import JobInterrupt

# argparse's own exit code for a bad command line.
BAD_OPTIONS_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    status: Status
    exit_code: int | None
    error: str = ""
    traceback: str = ""
    cause: BaseException | None = None


SUCCESS = Outcome(status=Status.SUCCEEDED, exit_code=0)


def outcome_of(error: BaseException, *, last_error_line: str = "") -> Outcome:
    """What an exception says about the run.

    A job that wrote to stderr and then exited with a number has said there what was wrong.
    """
    match error:
        case options.OptionsError():
            return _failed(BAD_OPTIONS_EXIT_CODE, str(error), error)
        case CommandError():
            return _failed(error.returncode, str(error), error)
        case SystemExit():
            return _outcome_of_exit(error, last_error_line)
        case JobInterrupt():
            return Outcome(status=error.status, exit_code=error.exit_code, error=str(error), cause=error)
        case KeyboardInterrupt():
            message = "Interrupted by hand."
            return Outcome(
                status=Status.CANCELLED, exit_code=INTERRUPTED_EXIT_CODE, error=message, cause=error
            )
    return Outcome(
        status=Status.FAILED,
        exit_code=1,
        error=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
        cause=error,
    )


def _outcome_of_exit(error: SystemExit, last_error_line: str) -> Outcome:
    """``sys.exit(code)``: None and 0 are success, a text is an error message with exit code 1."""
    code: Any = error.code
    if code in (None, 0):
        return SUCCESS
    if isinstance(code, int):
        return _failed(code, last_error_line or f"The job exited with code {code}.", error)
    return _failed(1, str(code), error)


def _failed(exit_code: int, message: str, cause: BaseException) -> Outcome:
    return Outcome(status=Status.FAILED, exit_code=exit_code, error=message, cause=cause)
