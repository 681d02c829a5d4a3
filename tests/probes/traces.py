"""Traces: lines that jobs leave in a file of their own, which no ledger had a hand in."""

import os

from jobledger.models import Run


def leave(run: Run | None, what: str) -> None:
    """Append the run, its attempt, what happened and this process to the file TRACE_FILE, if there is one."""
    file = os.environ.get("TRACE_FILE")
    if not file:
        return
    line = f"{run.pk if run else '-'} {run.attempt if run else 0} {what} {os.getpid()}\n"
    # One write to a file opened for appending: lines of several processes do not mix.
    target = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(target, line.encode())
    finally:
        os.close(target)
