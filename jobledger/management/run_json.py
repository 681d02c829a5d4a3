"""Runs as JSON: the fields have the model's names, moments are in ISO 8601 and UTC, secrets are masked."""

from datetime import datetime
from typing import Any

from jobledger.jobs import secrets
from jobledger.models import Run, RunAttempt, RunOutput


def as_json(run: Run) -> dict[str, Any]:
    """A run as every JSON answer of the operator's commands shows it."""
    return {
        "id": str(run.pk),
        "job": run.job,
        "options": secrets.masked(run.job, run.options),
        "trigger": run.trigger,
        "schedule": run.schedule_name or None,
        "scheduled_for": _iso(run.scheduled_for),
        "status": run.status,
        "attempt": run.attempt,
        "queued_at": _iso(run.queued_at),
        "started_at": _iso(run.started_at),
        "finished_at": _iso(run.finished_at),
        "exit_code": run.exit_code,
        "error": run.error or None,
    }


def in_full(run: Run) -> dict[str, Any]:
    """The same and everything else about it: who, where, its earlier attempts and its output."""
    return {
        **as_json(run),
        "args": run.args,
        "who": run.who or None,
        "worker": run.worker or None,
        "parent": str(run.parent_id) if run.parent_id else None,
        "cancelled_by": run.cancelled_by or None,
        "progress_done": run.progress_done,
        "progress_total": run.progress_total,
        "traceback": run.traceback or None,
        "attempts": [_attempt(each) for each in RunAttempt.objects.filter(run=run).order_by("attempt")],
        "output": [_piece(each) for each in RunOutput.objects.filter(run=run).in_order()],
    }


def _attempt(ended: RunAttempt) -> dict[str, Any]:
    return {
        "attempt": ended.attempt,
        "status": ended.status,
        "started_at": _iso(ended.started_at),
        "finished_at": _iso(ended.finished_at),
        "worker": ended.worker or None,
        "exit_code": ended.exit_code,
        "error": ended.error or None,
        "traceback": ended.traceback or None,
    }


def _piece(piece: RunOutput) -> dict[str, Any]:
    return {
        "attempt": piece.attempt,
        "stream": piece.stream,
        "text": piece.text,
        "written_at": _iso(piece.written_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
