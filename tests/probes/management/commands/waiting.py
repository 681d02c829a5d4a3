"""A job that waits, as for the network, and prints meanwhile: for looking at many of them in one process."""

import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command

from jobledger import Concurrency, JobCommand
from jobledger.models import Run
from tests.probes import traces

PAUSE_SECONDS = 0.05

logger = logging.getLogger("probes.waiting")


class Command(JobCommand):
    help = "Wait for a file, and write in many ways what nobody else writes."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--word", default="word", help="What it writes begins with this.")
        parser.add_argument("--until", type=Path, help="End as soon as there is such a file.")
        parser.add_argument("--read", type=Path, help="Wait in a system call for a writer to this fifo.")
        parser.add_argument("--stubborn", action="store_true", help="Go on when asked to end.")
        parser.add_argument("--fail", help="Raise CommandError with this text.")
        parser.add_argument("--query", action="store_true", help="Have a connection to the database.")
        parser.add_argument("--calls", help="Call this job.")
        parser.add_argument("--sleep", action="store_true", help="Leave a process running.")

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        try:
            self._write(options["word"])
            self._work(options)
            traces.leave(self.run, "end")
        finally:
            print(f"{options['word']} cleanup")
            traces.leave(self.run, "cleanup")

    def _work(self, options: dict[str, Any]) -> None:
        if options["query"]:
            Run.objects.exists()
        if options["sleep"]:
            traces.leave(self.run, f"child={subprocess.Popen(['sleep', '600']).pid}")
        if options["calls"]:
            call_command(options["calls"], stdout=self.stdout)
        if options["read"]:
            os.close(os.open(options["read"], os.O_RDONLY))
        while options["until"] and not options["until"].exists():
            with suppress(BaseException) if options["stubborn"] else nullcontext():
                time.sleep(PAUSE_SECONDS)
        self._write(options["word"])
        if options["fail"]:
            raise CommandError(options["fail"])

    def _write(self, word: str) -> None:
        print(f"{word} printed")
        sys.stderr.write(f"{word} on stderr\n")
        self.stdout.write(f"{word} by the command")
        logger.warning("%s logged", word)
        warnings.warn(f"{word} warned", stacklevel=1)
        _in_thread(lambda: print(f"{word} by a thread"))
        with ThreadPoolExecutor(1) as executor:
            executor.submit(print, f"{word} by an executor").result()


def _in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
