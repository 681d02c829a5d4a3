"""A job that lasts, in many ways: for looking at what ends it."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction

from jobledger import JobCommand
from jobledger.models import Run
from tests.probes import traces

STEP_SECONDS = 0.1
THREAD_SECONDS = 60


class Command(JobCommand):
    help = "Last for some seconds, and leave traces of the begin, the end and the cleanup."
    time_limit_grace = timedelta(seconds=2)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=1)
        parser.add_argument("--until", type=Path, help="End as soon as there is such a file.")
        parser.add_argument("--tenant", default="")
        parser.add_argument("--stubborn", action="store_true", help="Do not end when asked to.")
        parser.add_argument("--fork", action="store_true", help="Let a child process leave this code too.")
        parser.add_argument("--steps", action="store_true", help="Leave a trace at each step.")
        parser.add_argument("--busy", action="store_true", help="Compute without a pause.")
        parser.add_argument("--in-transaction", action="store_true", help="Do it all in one transaction.")
        parser.add_argument("--hold-gil", action="store_true", help="Stay in C code.")
        parser.add_argument("--subprocess", action="store_true", help="Leave one running.")
        parser.add_argument("--thread", action="store_true", help="Leave one running, for a minute.")

    @classmethod
    def concurrency_key(cls, options: Mapping[str, Any]) -> str:
        return str(options.get("tenant", ""))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            # Whoever sees this trace may end the job at once, and expects its cleanup.
            traces.leave(self.run, "begin")
            attempt = self.run.attempt if self.run else 0
            self.stdout.write(f"working on attempt {attempt}")
            self._last(options)
            traces.leave(self.run, "end")
        finally:
            traces.leave(self.run, "cleanup")

    def _last(self, options: dict[str, Any]) -> None:
        if options["thread"]:
            threading.Thread(target=time.sleep, args=[THREAD_SECONDS], daemon=False).start()
        if options["subprocess"]:
            traces.leave(self.run, f"child={subprocess.Popen(['sleep', '600']).pid}")
        if options["fork"] and os.fork() == 0:
            sys.exit(0)
        if options["hold_gil"]:
            # A function of C that keeps the interpreter's lock.
            ctypes.PyDLL(None).sleep(3600)
        with transaction.atomic() if options["in_transaction"] else nullcontext():
            self._step(options)

    def _step(self, options: dict[str, Any]) -> None:
        if options["in_transaction"]:
            Run.objects.filter(job="none such").update(username="nobody")
        for _ in self.progress(range(int(options["seconds"] / STEP_SECONDS)), description="lasting"):
            if options["until"] and options["until"].exists():
                return
            _compute() if options["busy"] else _sleep(stubborn=options["stubborn"])
            if options["steps"]:
                traces.leave(self.run, "step")


def _compute() -> None:
    until = time.monotonic() + STEP_SECONDS
    while time.monotonic() < until:
        pass


def _sleep(*, stubborn: bool) -> None:
    with suppress(BaseException) if stubborn else nullcontext():
        time.sleep(STEP_SECONDS)
