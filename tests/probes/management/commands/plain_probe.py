"""A command that is no job unless the settings expose it."""

import signal
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Print, and call a job when asked to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--call-job", action="store_true")
        parser.add_argument("--last", action="store_true", help="Wait for a signal.")

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("plain")
        if options["call_job"]:
            call_command("probe", "called", stdout=self.stdout)
        if options["last"]:
            signal.pause()
