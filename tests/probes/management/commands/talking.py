"""A job that writes line after line, on both streams and in colours: for watching it."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from jobledger import JobCommand
from jobledger.jobs.declaration import Concurrency

POLL_SECONDS = 0.1


class Command(JobCommand):
    help = "Write numbered lines."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--lines", type=int, default=10)
        parser.add_argument("--pause", type=float, default=0.0, metavar="SECONDS")
        parser.add_argument("--until", type=Path, help="Stop half way until there is such a file.")
        parser.add_argument("--word", default="line", help="What each line begins with.")
        parser.add_argument("--api-key", help="Not used, and not to be seen.")

    def handle(self, *args: Any, **options: Any) -> None:
        for number in self.progress(range(options["lines"])):
            self.stdout.write(f"\x1b[32m{options['word']}\x1b[0m {number}")
            if number % 5 == 4:
                self.stderr.write(f"warning at {number}")
            time.sleep(options["pause"])
            while number == options["lines"] // 2 and options["until"] and not options["until"].exists():
                time.sleep(POLL_SECONDS)
