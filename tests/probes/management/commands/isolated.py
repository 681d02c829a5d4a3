"""A job whose runs have processes of their own: for looking at how such a process ends."""

import ctypes
import json
import os
import signal
import sys
from argparse import ArgumentParser
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from jobledger import Concurrency
from jobledger.models import Run
from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "End in many ways, in a process of its own."
    isolate = True
    concurrency = Concurrency.ALLOW
    time_limit = timedelta(seconds=60)

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--signal", choices=["SIGKILL", "SIGSEGV", "SIGTERM"])
        parser.add_argument("--exit-hard", type=int, help="Call os._exit.")
        parser.add_argument("--fail", help="Raise CommandError with this text.")
        parser.add_argument("--calls", help="Call the job probe with this word.")

    def _last(self, options: dict[str, Any]) -> None:
        self.stderr.write("about to end")
        self.stdout.write(json.dumps(_process()))
        Run.objects.exists()
        if options["calls"]:
            call_command("probe", options["calls"], stdout=self.stdout)
        if options["fail"]:
            raise CommandError(options["fail"], returncode=3)
        if options["signal"] == "SIGSEGV":
            ctypes.string_at(0)
        if options["signal"]:
            os.kill(os.getpid(), signal.Signals[options["signal"]])
        if options["exit_hard"] is not None:
            os._exit(options["exit_hard"])
        super()._last(options)


def _process() -> dict[str, Any]:
    """What this process has, before its first query."""
    files = list[Path]()
    for path in Path("/proc/self/fd").iterdir():
        # Another thread may close one meanwhile.
        with suppress(FileNotFoundError):
            files.append(path.readlink())
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "program": sys.argv[0],
        "databases": sorted(str(path) for path in files if "sqlite" in str(path)),
    }
