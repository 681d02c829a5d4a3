"""A job that writes in every way there is, and then ends in the given way."""

import os
import signal
import subprocess
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command

from jobledger import JobCommand
from jobledger.jobs.declaration import Concurrency
from tests.probes import traces, written


class Command(JobCommand):
    help = "Write, and end."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--child", action="store_true", help="Call another job.")
        parser.add_argument("--megabytes", type=int, default=0, help="Let a subprocess write as much.")
        parser.add_argument("--kill", action="store_true", help="Be killed right after the last line.")

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        written.write(self)
        if options["child"]:
            call_command("probe", "of the child")
        if options["megabytes"]:
            subprocess.run(["sh", "-c", f"yes | head -c {options['megabytes']}MB"], check=True)
        if options["kill"]:
            print("last words")
            os.write(2, b"last words of C\n")
            os.kill(os.getpid(), signal.SIGKILL)
