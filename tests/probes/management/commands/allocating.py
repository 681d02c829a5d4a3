"""A job that needs memory and CPU time: for looking at what is measured, and what happens at a limit."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from typing import Any

from jobledger import JobCommand
from tests.probes import traces

MEGABYTE = 1024 * 1024
ALLOCATE = "import time; x = b'x' * {}; time.sleep({})"


class Command(JobCommand):
    help = "Use memory, here or in a subprocess."
    memory_limit: str | None = "200 MB"  # type: ignore[misc]  # of this class, too

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--megabytes", type=int, default=0)
        parser.add_argument("--in-subprocess", action="store_true")
        parser.add_argument("--seconds", type=float, default=0, help="How long to keep it.")
        parser.add_argument("--stubborn", action="store_true", help="Do not end when asked to.")

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        self.stdout.write(f"process {os.getpid()}")
        if options["in_subprocess"]:
            code = ALLOCATE.format(options["megabytes"] * MEGABYTE, options["seconds"])
            subprocess.run([sys.executable, "-c", code], check=True)
            return
        if options["stubborn"]:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        kept = []
        for _ in range(options["megabytes"]):
            kept.append(b"x" * MEGABYTE)
            time.sleep(0.001)
        time.sleep(options["seconds"])
