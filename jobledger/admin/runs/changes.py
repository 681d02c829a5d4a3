"""What users do to runs: starting, cancelling and running again, each with an entry in the audit log.

The pages and the HTTP API call the same functions. Permissions are checked by the caller. Commands, which
have no user of the admin, only log here what they do themselves.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import transaction

from jobledger import clock
from jobledger.admin import audit_log
from jobledger.admin.rights import User
from jobledger.jobs.options.command_line import command_line
from jobledger.jobs.registry import Job
from jobledger.models import Reason, Run, Trigger, Why
from jobledger.runs import dispatch, overlap


def start_job(
    user: User,
    job: Job,
    options: Mapping[str, Any],
    *,
    trigger: Trigger = Trigger.ADMIN,
    past: Run | None = None,
    once: dispatch.Once | None = None,
) -> Run:
    """Start the job with valid options; as a repeat of ``past``, for the same slot.

    Raises dispatch.RepeatedError if the run that is to start ``once`` has been requested before.
    """
    request = dispatch.RunRequest(
        job=job.name,
        options=dict(options),
        trigger=trigger,
        **_author(user),
        # The new run is for the same slot, as with "Run again".
        schedule_name=past.schedule_name if past else "",
        scheduled_for=past.scheduled_for if past else None,
        routing=past.routing if past else {},
    )

    @transaction.atomic
    def start(run_id: UUID) -> Run:
        run = dispatch.enqueue(request, run_id=run_id, once=once)
        log_started(user, run, job, options, past=past)
        return run

    return dispatch.certainly(start, once=once)


@transaction.atomic
def cancel_run(user: User, run: Run, *, trigger: Trigger = Trigger.ADMIN, comment: str = "") -> bool:
    """Request cancellation; returns False if the run has ended or is already being cancelled."""
    # Without a comment, the reason has none.
    details = {"comment": comment} if comment else {}
    why = Why.of(Reason.USER, user=user.get_username(), trigger=trigger, **details)
    is_requested = overlap.request_cancel(run, why, clock.now())
    if is_requested:
        log_cancelled(user, run, comment)
    return is_requested


def start_run_again(
    user: User, run: Run, *, trigger: Trigger = Trigger.ADMIN, once: dispatch.Once | None = None
) -> Run:
    """Start a new run of the same job with the same options.

    Raises dispatch.CannotRunAgainError, or dispatch.RepeatedError as ``start_job``.
    """

    @transaction.atomic
    def start(run_id: UUID) -> Run:
        new = dispatch.run_again(run, trigger=trigger, **_author(user), run_id=run_id, once=once)
        log_started_again(user, run, new)
        return new

    return dispatch.certainly(start, once=once)


def log_started(
    user: User | str, run: Run, job: Job, options: Mapping[str, Any], *, past: Run | None = None
) -> None:
    """Log that the user started the job; as a repeat of ``past``."""
    text = f"Started {command_line(job, options)}"
    audit_log.log_action(user, [run], f"{text}, repeating run {past.pk}." if past else f"{text}.")


def log_cancelled(user: User | str, run: Run, comment: str) -> None:
    audit_log.log_action(user, [run], f"Cancelled: {comment}" if comment else "Cancelled.")


def log_started_again(user: User | str, run: Run, new: Run) -> None:
    """Log it with both runs."""
    audit_log.log_action(user, [run], f"Started again as run {new.pk}.")
    audit_log.log_action(user, [new], f"Started as a repeat of run {run.pk}.")


def _author(user: User) -> dict[str, Any]:
    return {
        "username": user.get_username(),
        "user_id": None if isinstance(user, AnonymousUser) else user.pk,
    }
