"""A failed run as an event of Sentry, from its row: with its stack, and without its secrets."""

import re
from collections.abc import Iterator
from typing import Any

from django.utils.crypto import salted_hmac

from jobledger.conf import settings
from jobledger.jobs import secrets
from jobledger.models import FAILURES, Reason, Run
from jobledger.runs import reasons
from jobledger.tracing import context

MAX_TAG_LENGTH = 200
MAX_FRAMES = 100
ID_LENGTH = 32

# As Python prints a traceback. What it links to which error, it says in a line of its own.
_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$')
_LINKS = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n\n"
)
_ERROR = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<value>.*))?$", re.DOTALL)
_OF_OTHERS = re.compile(r"/(site|dist)-packages/|/lib/python3|^<")


def is_wanted(run: Run) -> bool:
    """Whether this end of a run is reported: a CommandError is a job's own way to say what is wrong."""
    is_command_error = run.reason == Reason.COMMAND_ERROR
    return run.status in FAILURES and (settings.SENTRY_COMMAND_ERRORS or not is_command_error)


def id_of(run: Run) -> str:
    """What Sentry calls what is reported of the run: always the same, so that it drops what arrives twice.

    Not the run's own id, which services that share a project in Sentry may both have: that of a scheduled run
    follows from its schedule's id and its time.
    """
    service = settings.SENTRY_ENVIRONMENT or settings.ENVIRONMENT
    return salted_hmac("jobledger.sentry", f"{service} {run.pk.hex}").hexdigest()[:ID_LENGTH]


def failure(run: Run) -> dict[str, Any]:
    """The event of a failed run."""
    return {
        "event_id": id_of(run),
        "timestamp": (run.finished_at or run.queued_at).isoformat(),
        "level": "error",
        "platform": "python",
        "logger": "jobledger",
        "transaction": run.job,
        "server_name": run.worker,
        "exception": {"values": list(_exceptions(run))},
        "fingerprint": ["{{ default }}", run.job],
        "tags": {name: value[:MAX_TAG_LENGTH] for name, value in _tags(run).items() if value},
        "extra": {"options": secrets.masked(run.job, run.options), "what happened": reasons.explanation(run)},
        "contexts": _trace(run),
    }


def _tags(run: Run) -> dict[str, str]:
    return {
        "job": run.job,
        "run_id": str(run.pk),
        "schedule": run.schedule_name,
        "trigger": str(run.trigger),
        "attempt": str(run.attempt),
        "status": str(run.status),
        "reason": run.reason,
        "exit_code": "" if run.exit_code is None else str(run.exit_code),
    }


def _trace(run: Run) -> dict[str, Any]:
    found = context.of(run.trace_context)
    if not found:
        return {}
    # If nobody has called the run, the context is that of its first attempt; the failure is the last one's.
    span = context.span_id_of(found)
    if span == context.span_id_of_attempt(run.pk, 1):
        span = context.span_id_of_attempt(run.pk, run.attempt)
    ids = {"trace_id": context.trace_id_of(found), "span_id": span}
    return {"trace": {**ids, "op": "job", "status": "internal_error"}}


def _exceptions(run: Run) -> Iterator[dict[str, Any]]:
    """The errors of its traceback, the first cause first; what has happened if there is no traceback."""
    parts = _LINKS.split(reasons.without_secrets(run, run.traceback))
    for part in parts[:-1]:
        yield _exception(part, *_error_in(part))
    last = _exception(parts[-1], reasons.error_type(run), reasons.error_message(run))
    yield {**last, "mechanism": _MECHANISM}


_MECHANISM = {"type": "jobledger", "handled": False}


def _exception(traceback: str, kind: str, value: str) -> dict[str, Any]:
    found: dict[str, Any] = {"type": kind, "value": value}
    if frames := list(_frames(traceback)):
        found["stacktrace"] = {"frames": frames[-MAX_FRAMES:]}
    return found


def _frames(traceback: str) -> Iterator[dict[str, Any]]:
    lines = traceback.split("\n")
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if found := _FRAME.match(line):
            yield {
                "abs_path": found["file"],
                "filename": found["file"],
                "function": found["function"],
                "lineno": int(found["line"]),
                "context_line": after.strip() if after.startswith("    ") else "",
                "in_app": _OF_OTHERS.search(found["file"]) is None,
            }


def _error_in(traceback: str) -> tuple[str, str]:
    """The type and the message of the error at the end of a traceback."""
    lines = traceback.strip("\n").split("\n")
    last = max((number for number, line in enumerate(lines) if line.startswith("  ")), default=-1)
    found = _ERROR.match("\n".join(lines[last + 1 :]))
    return (found["type"], found["value"] or "") if found else ("Exception", lines[-1])
