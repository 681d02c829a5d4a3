"""A job whose work is done by threads of its own, in the ways that jobs use them."""

import atexit
import threading
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jobledger import JobCommand
from jobledger.models import Run
from tests.probes import traces

PAUSE_SECONDS = 0.05

_kept = ThreadPoolExecutor(1)
"""An executor that is never shut down, as some libraries have."""


class Command(JobCommand):
    help = "Start threads, and return."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--until", type=Path, help="A thread prints once there is such a file.")
        parser.add_argument("--queries", type=int, default=0, help="How many threads query the database.")
        parser.add_argument("--fail", help="A thread raises LookupError with this text.")
        parser.add_argument("--at-exit", type=Path, help="Keep an idle executor; write to it at exit.")

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        if options["until"]:
            threading.Thread(target=_print_later, args=[options["until"]]).start()
        for _ in range(options["queries"]):
            _in_thread(Run.objects.exists)
        if options["fail"]:
            _in_thread(lambda: _fail(options["fail"]))
        if options["at_exit"]:
            _kept.submit(int).result()
            atexit.register(options["at_exit"].write_text, "exited")
        traces.leave(self.run, "returned")


def _print_later(until: Path) -> None:
    while not until.exists():
        time.sleep(PAUSE_SECONDS)
    print("by a late thread")


def _in_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _fail(text: str) -> None:
    raise LookupError(text)
