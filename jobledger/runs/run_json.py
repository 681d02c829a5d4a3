"""Runs as JSON: fields are named as in the model, times are in ISO 8601 and UTC, secrets are masked."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from jobledger.jobs import secrets
from jobledger.jobs.json_text import is_finite
from jobledger.models import Run, RunAttempt, RunOutput
from jobledger.runs import limits, reasons


def as_json(run: Run) -> dict[str, Any]:
    """The fields that every command includes."""
    return {
        "id": str(run.pk),
        "job": run.job,
        "options": secrets.masked(run.job, run.options),
        "trigger": run.trigger,
        "schedule": run.schedule_name or None,
        "scheduled_for": _iso(run.scheduled_for),
        "moved_to": _iso(run.moved_to),
        "status": run.status,
        "reason": run.reason or None,
        "reason_details": run.reason_details,
        "attempt": run.attempt,
        "queued_at": _iso(run.queued_at),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "exit_code": run.exit_code,
        **_resources(run),
        "error": reasons.explanation(run) or None,
    }


def in_full(run: Run) -> dict[str, Any]:
    """All fields, including earlier attempts and output."""
    return {**in_detail(run), "output": pieces(RunOutput.objects.filter(run=run).in_order())}


def in_detail(run: Run) -> dict[str, Any]:
    """All fields, including earlier attempts, without the output."""
    return {
        **as_json(run),
        "args": secrets.masked_args(run.args),
        "user": run.username or None,
        "worker": run.worker or None,
        "parent": str(run.parent_id) if run.parent_id else None,
        "coalesced": run.coalesced,
        "routing": run.routing,
        **_limits(run),
        "left_behind": run.left_behind,
        "return_value": secrets.masked_args([run.return_value])[0],
        "cancelled_by": reasons.cancelled_by(run) or None,
        "progress_done": run.progress_done,
        "progress_total": run.progress_total,
        "traceback": reasons.without_secrets(run, run.traceback) or None,
        "attempts": [_attempt(each) for each in run.attempts.order_by("attempt")],
    }


def pieces(rows: Iterable[RunOutput]) -> list[dict[str, Any]]:
    """What a run has written, in the order of the rows."""
    return [_piece(each) for each in rows]


def _attempt(ended: RunAttempt) -> dict[str, Any]:
    return {
        "attempt": ended.attempt,
        "status": ended.status,
        "reason": ended.reason or None,
        "reason_details": ended.reason_details,
        "started_at": _iso(ended.started_at),
        "finished_at": _iso(ended.finished_at),
        "worker": ended.worker or None,
        "exit_code": ended.exit_code,
        **_resources(ended),
        "error": reasons.explanation(ended) or None,
        "traceback": reasons.without_secrets(ended, ended.traceback) or None,
    }


def _resources(row: Run | RunAttempt) -> dict[str, Any]:
    return {
        "exit_signal": row.exit_signal or None,
        "peak_memory_bytes": row.peak_memory_bytes,
        # JSON has no infinity, which a database has.
        "cpu_seconds": row.cpu_seconds if is_finite(row.cpu_seconds or 0) else None,
    }


def _limits(run: Run) -> dict[str, Any]:
    """As the process that prints them knows the job."""
    if not limits.apply_to(run):
        return {"time_limit_seconds": None, "time_limit_grace_seconds": None, "time_limit_set_by": None}
    found = limits.of_run(run)
    limit, grace = found.time_limit, found.grace
    return {
        "time_limit_seconds": limit.total_seconds() if limit else None,
        "time_limit_grace_seconds": grace.total_seconds(),
        "time_limit_set_by": found.set_by,
    }


def _piece(piece: RunOutput) -> dict[str, Any]:
    return {
        "attempt": piece.attempt,
        "stream": piece.stream,
        "text": piece.text,
        "written_at": _iso(piece.written_at),
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
