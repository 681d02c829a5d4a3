"""A job that writes in every way there is, and then ends in the given way."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command

from jobledger import JobCommand
from jobledger.jobs.declaration import Concurrency
from tests.probes import traces

_C = ctypes.CDLL(None)


class Command(JobCommand):
    help = "Write, and end."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--kill", action="store_true", help="Be killed right after a line.")
        parser.add_argument("--megabytes", type=int, default=0, help="Let a subprocess write as much.")
        parser.add_argument("--leave", action="store_true", help="Leave a subprocess that keeps the pipes.")
        parser.add_argument("--child", action="store_true", help="Call another job.")
        parser.add_argument("--seconds", type=float, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        self._write()
        if options["child"]:
            call_command("probe", "of the child")
        if options["megabytes"]:
            script = f"head -c {options['megabytes']}000000 /dev/zero | tr '\\0' x"
            subprocess.run(["sh", "-c", script], check=True)
        if options["leave"]:
            subprocess.Popen(["sleep", "5"])
        time.sleep(options["seconds"])
        if options["kill"]:
            print("last words")
            os.write(2, b"last words of C\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self) -> None:
        self.stdout.write("self.stdout")
        print("print")
        subprocess.run(["sh", "-c", "echo subprocess"], check=True)
        self.stderr.write("self.stderr")
        logging.getLogger("anything").warning("logging")
        warnings.warn("warning", UserWarning, stacklevel=1)
        os.write(1, b"descriptor\n")
        print("sys.stderr", file=sys.stderr)
        _C.puts(b"C library")
        _C.fflush(None)
