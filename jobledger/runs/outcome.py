"""Outcomes: what an exception means for a run, with the exit code that ``manage.py`` would return."""

import signal
import traceback
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.core.management import CommandError

from jobledger.jobs import options
from jobledger.jobs.registry import UnknownJobError
from jobledger.models import NO_REASON, Reason, Run, Status, Why
from jobledger.runs.lease.interrupts import JobInterrupt
from jobledger.runs.processes.resources import Usage

# argparse's own exit code for a bad command line.
BAD_OPTIONS_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
# The system keeps no more of the number that a process exits with.
EXIT_CODE_BITS = 0xFF
# As a shell reports SIGKILL, and as containers end that exceed their memory.
OUT_OF_MEMORY_EXIT_CODE = 128 + signal.SIGKILL
# As in Python's tracebacks.
UNREADABLE = "<exception str() failed>"


class SignalExit(SystemExit):
    """Ends a job whose process receives a signal; ``finally`` blocks run."""

    def __init__(self, signum: int) -> None:
        """Use the exit code that a shell reports for a process killed by the signal."""
        super().__init__(128 + signum)
        self.number = signum
        self.signal = signal.Signals(signum).name


class UnstorableResultError(TypeError):
    """What a function returned is not JSON. Another attempt would only do its work once more."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    status: Status
    why: Why = NO_REASON
    exit_code: int | None
    exit_signal: str = ""
    """The signal that ended it, such as SIGKILL."""
    ended_at: datetime | None = None
    """None: now. Otherwise on the database's clock."""
    usage: Usage | None = None
    """None: only what its last heartbeat has recorded is known."""
    error: str = ""
    """The message of the job, its parser or its process; our own messages are derived from ``why``."""
    traceback: str = ""
    cause: BaseException | None = None
    is_worth_retrying: bool | None = None
    """Of an outcome from another process, which has decided it. None: it follows from ``cause``."""

    def of_run(self, run: Run) -> Run:
        """The run as it ends with this outcome, which its row may not say yet: for sentences about it."""
        known = {"job": run.job, "options": run.options, "args": run.args, "trigger": run.trigger}
        ended = {name: getattr(self, name) for name in ("status", "exit_code", "exit_signal", "error")}
        return Run(pk=run.pk, attempt=run.attempt, **known, **ended, **self.why.columns)

    @property
    def resource_columns(self) -> dict[str, Any]:
        """The known columns that both a run and an earlier attempt have."""
        return {"exit_signal": self.exit_signal, **(self.usage.columns if self.usage else {})}

    @property
    def is_worker_shutdown(self) -> bool:
        """Whether the run was only ended because its worker had to stop."""
        return self.why.reason is Reason.WORKER_SHUTDOWN


def signal_name(number: int) -> str:
    """Such as SIGKILL; for real-time signals, which have no name, such as ``signal 42``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


SUCCESS = Outcome(status=Status.SUCCEEDED, exit_code=0)
FAILURE = Outcome(status=Status.FAILED, why=Why.of(Reason.EXIT_CODE), exit_code=1)
"""Of which nothing else is known."""


def outcome_of_exit_code(code: int) -> Outcome:
    """The outcome of a job that has ended its process itself, by ``os._exit`` for example."""
    why = Why.of(Reason.EXIT_CODE)
    return Outcome(status=Status.FAILED, why=why, exit_code=code) if code else SUCCESS


def outcome_of(error: BaseException, *, last_error_line: str = "") -> Outcome:
    """The outcome of a run that raised this exception, whatever the exception does when it is read.

    If a job exits with a number, its last line on stderr is taken as the error message.
    """
    try:
        return _outcome_of(error, last_error_line)
    except BaseException:  # noqa: BLE001 - code of the exception's class may raise anything
        return _failed(Reason.EXCEPTION, 1, type(error).__name__, error, type=type(error).__name__)


def _outcome_of(error: BaseException, last_error_line: str) -> Outcome:
    match error:
        case options.OptionsError():
            return _failed(Reason.BAD_OPTIONS, BAD_OPTIONS_EXIT_CODE, text_of(error), error)
        case CommandError():
            return _failed(Reason.COMMAND_ERROR, _exit_code(error.returncode), text_of(error), error)
        case UnknownJobError():
            return _failed(Reason.UNKNOWN_JOB, 1, str(error.args[0]), error)
        case SystemExit():
            return _outcome_of_exit(error, last_error_line)
        case JobInterrupt():
            return Outcome(status=error.status, why=error.why, exit_code=error.exit_code, cause=error)
        case UnstorableResultError():
            outcome = _failed(Reason.EXCEPTION, 1, text_of(error), error, type=TypeError.__name__)
            return replace(outcome, traceback=traceback_of(error), is_worth_retrying=False)
        case KeyboardInterrupt():
            why = Why.of(Reason.INTERRUPTED, signal="SIGINT")
            return Outcome(
                status=Status.CANCELLED,
                why=why,
                exit_code=INTERRUPTED_EXIT_CODE,
                exit_signal="SIGINT",
                cause=error,
            )
    name, module = type(error).__name__, type(error).__module__
    facts = {"type": name} if module == "builtins" else {"type": name, "module": module}
    outcome = _failed(Reason.EXCEPTION, 1, f"{name}: {text_of(error)}", error, **facts)
    return replace(outcome, traceback=traceback_of(error))


def text_of(value: object) -> str:
    """As in a traceback, even if ``__str__`` raises or returns no string."""
    try:
        return str(value)
    except BaseException:  # noqa: BLE001 - code of the value's class may raise anything
        return UNREADABLE


def traceback_of(error: BaseException) -> str:
    """As Python prints it; less if code of the exception's class prevents that."""
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:  # noqa: BLE001 - such as a property `__notes__`
        return _bare_traceback_of(error)


def _bare_traceback_of(error: BaseException) -> str:
    """Without its notes and its causes."""
    lines = traceback.format_tb(error.__traceback__)
    text = f"{type(error).__name__}: {text_of(error)}"
    return "".join(["Traceback (most recent call last):\n", *lines, f"{text}\n"])


def _outcome_of_exit(error: SystemExit, last_error_line: str) -> Outcome:
    """``sys.exit(code)``: None and 0 mean success, anything but a number is a message with exit code 1."""
    code: Any = error.code
    if code is None or (isinstance(code, int) and code == 0):
        return SUCCESS
    if isinstance(error, SignalExit):
        outcome = _failed(Reason.SIGNAL, code, last_error_line, error, signal=error.signal)
        return replace(outcome, exit_signal=error.signal)
    message = last_error_line if isinstance(code, int) else text_of(code)
    return _failed(Reason.EXIT_CODE, _exit_code(code), message, error)


def _exit_code(code: object) -> int:
    """With which ``sys.exit(code)`` ends a process."""
    if code is None:
        return 0
    return code & EXIT_CODE_BITS if isinstance(code, int) else 1


def _failed(reason: Reason, exit_code: int, message: str, cause: BaseException, **facts: Any) -> Outcome:
    why = Why.of(reason, **facts)
    return Outcome(status=Status.FAILED, why=why, exit_code=exit_code, error=message, cause=cause)
