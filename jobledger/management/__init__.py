"""``manage.py`` of a project: exposed commands leave a run when they are called from the command line.

``JobCommand`` records itself. A plain command cannot, so ``manage.py`` calls this module's
``execute_from_command_line`` instead of Django's. Nothing else is different.
"""

import sys
from collections.abc import Sequence

from django.core.management import ManagementUtility
from django.core.management.base import BaseCommand


def execute_from_command_line(argv: Sequence[str] | None = None) -> None:
    """Do what Django's function of this name does, with exposed commands on record."""
    _Utility(list(sys.argv if argv is None else argv)).execute()


class _Utility(ManagementUtility):
    def fetch_command(self, subcommand: str) -> BaseCommand:
        """The command, which records itself if it is exposed."""
        command = super().fetch_command(subcommand)
        try:
            return _recorded(command, subcommand)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the service, the command must run
            sys.stderr.write(f"This run is not recorded: {error}\n")
            return command


def _recorded(command: BaseCommand, name: str) -> BaseCommand:
    # Imported once Django's apps are loaded.
    from django.apps import apps

    from jobledger.jobs import registry

    if not (apps.ready and name in registry.exposed_commands()):
        return command
    from jobledger.jobs.declaration import JobDeclaration
    from jobledger.runs.execution.calls import record_plain_command

    job = registry.all_jobs().get(name)
    if job is None or isinstance(command, JobDeclaration):
        return command
    return record_plain_command(command, job)
