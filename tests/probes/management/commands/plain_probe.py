"""A command that is no job unless the settings expose it."""

import os
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
        parser.add_argument("--signal", type=int, help="Send this signal to the process.")
        parser.add_argument("--fail", action="store_true")
        parser.add_argument("--exit-hard", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write("plain")
        if options["call_job"]:
            call_command("probe", "called", stdout=self.stdout)
        if options["last"]:
            self.stdout.flush()
            signal.pause()
        if options["signal"]:
            try:
                signal.raise_signal(options["signal"])
            finally:
                self.stdout.write("cleanup")
        if options["exit_hard"] is not None:
            os._exit(options["exit_hard"])
        if options["fail"]:
            self._fail()

    def _fail(self) -> None:
        try:
            raise OSError("first")
        except OSError as error:
            raise ValueError("second") from error
