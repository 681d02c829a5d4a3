"""``jobledger retry``: runs a finished run again."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db import transaction

from jobledger.admin.runs import changes
from jobledger.conf import settings
from jobledger.management import arguments
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.identity import operating_system_user
from jobledger.schedules.audit import command_line_user


class Command(OperatorCommand):
    """Prints only the new run's id, for use in shell scripts."""

    help = "Run the same job again with the same options. Prints the new run's id."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help=arguments.RUN_HELP)

    def handle(self, *args: Any, **options: Any) -> None:
        run = arguments.run(options["id"])

        @transaction.atomic
        def start(run_id: UUID) -> Run:
            who = operating_system_user()
            new = dispatch.run_again(run, trigger=Trigger.CLI, username=who, run_id=run_id)
            changes.log_started_again(command_line_user(), run, new)
            return new

        try:
            new = dispatch.certainly(start, within_seconds=settings.LEASE_SECONDS)
        except dispatch.CannotRunAgainError as error:
            raise CommandError(str(error)) from error
        self.say(str(new.pk))
