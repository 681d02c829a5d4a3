"""``jobledger cancel``: cancels a queued or running run."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from jobledger import clock
from jobledger.admin.runs import changes
from jobledger.management import arguments
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Reason, Run, Status, Trigger, Why
from jobledger.runs import overlap, reasons
from jobledger.runs.identity import operating_system_user
from jobledger.schedules.audit import command_line_user


class Command(OperatorCommand):
    """A queued run is cancelled immediately; a running one is asked to stop."""

    help = "Cancel a queued or running run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help=arguments.RUN_HELP)
        parser.add_argument("--reason", default="", help="Recorded with the run.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.say(_cancel(arguments.run(options["id"]), options["reason"]))


def _cancel(run: Run, reason: str) -> str:
    if len(reason) > overlap.MAX_COMMENT_LENGTH:
        raise CommandError(f"--reason: it is longer than {overlap.MAX_COMMENT_LENGTH} characters")
    why = Why.of(Reason.USER, user=operating_system_user(), trigger=Trigger.CLI, comment=reason)
    with transaction.atomic():
        is_accepted = overlap.request_cancel(run, why, clock.now())
        if is_accepted:
            changes.log_cancelled(command_line_user(), run, reason)
    run.refresh_from_db()
    if is_accepted and run.status == Status.CANCELLED:
        return f"Run {run.pk} was cancelled."
    if run.status == Status.RUNNING and run.cancel_requested_at:
        requested = "requested" if is_accepted else f"already requested by {reasons.cancelled_by(run)}"
        return f"Run {run.pk}: cancellation {requested}; it should stop within a few seconds."
    if Status(run.status).is_final:
        raise CommandError(f"Run {run.pk} is already over: {run.get_status_display()}")
    raise CommandError(f"Run {run.pk} has just started or restarted; try again")
