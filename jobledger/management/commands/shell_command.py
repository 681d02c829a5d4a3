"""Runs one of the commands that the setting SHELL_COMMANDS names. A job only if there are any."""

import subprocess
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from jobledger import JobCommand
from jobledger.conf import settings

SIGNAL_EXIT_CODE = 128
"""A shell adds this to the number of the signal that has ended a command."""


class Command(JobCommand):
    help = (
        "Run a command of the settings' SHELL_COMMANDS, by its name. The worker runs it, with its own user, "
        "environment and folder."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=sorted(settings.SHELL_COMMANDS), help="The command's name.")

    @classmethod
    def concurrency_key(cls, options: Mapping[str, Any]) -> str:
        """Different commands may overlap."""
        return str(options["name"])

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        """The command's exit code is that of the run. Its output goes where the job's own goes."""
        command = settings.SHELL_COMMANDS[name]
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        try:
            code = subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode
        except OSError as error:
            raise CommandError(f"{name} cannot be started: {error}") from error
        if code < 0:
            # As every job, this one is imported by processes that execute none.
            from jobledger.runs.outcome import signal_name

            text = f"{name} was ended by {signal_name(-code)}"
            raise CommandError(text, returncode=SIGNAL_EXIT_CODE - code)
        if code:
            raise CommandError(f"{name} has exited with {code}", returncode=code)
