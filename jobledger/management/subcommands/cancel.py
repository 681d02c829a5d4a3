"""``jobledger cancel``: ends a queued or running run."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger.management import arguments
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Reason, Run, Status, Trigger, Why
from jobledger.runs import overlap, reasons
from jobledger.runs.dispatch import operating_system_user

LONGEST_COMMENT = 250


class Command(OperatorCommand):
    """A queued run is cancelled at once; a running one is asked to end."""

    help = "End a queued or running run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which run, and why."""
        parser.add_argument("id", help=arguments.RUN_HELP)
        parser.add_argument("--reason", default="", help="Kept with the run.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Cancel it, and report what has come of it."""
        self.say(_cancel(arguments.run(options["id"]), options["reason"]))


def _cancel(run: Run, reason: str) -> str:
    if len(reason) > LONGEST_COMMENT:
        raise CommandError(f"--reason: it is longer than {LONGEST_COMMENT} characters")
    why = Why.of(Reason.USER, user=operating_system_user(), trigger=Trigger.CLI, comment=reason)
    is_asked = overlap.request_cancel(run, why, timezone.now())
    run.refresh_from_db()
    if is_asked and run.status == Status.CANCELLED:
        return f"Run {run.pk} is cancelled."
    if run.status == Status.RUNNING and run.cancel_requested_at:
        asked = "was asked" if is_asked else f"was already asked by {reasons.cancelled_by(run)}"
        return f"Run {run.pk} {asked} to end; it does within a few seconds."
    if Status(run.status).is_final:
        raise CommandError(f"Run {run.pk} is over: {run.get_status_display()}")
    raise CommandError(f"Run {run.pk} has just started or begun again; try again")
