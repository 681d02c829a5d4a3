"""A job that prints: much, or what is hard to keep, or to where there is no room."""

import resource
import time
from argparse import ArgumentParser
from typing import Any

from jobledger import JobCommand
from tests.probes import traces

LINE = "x" * 199
# Not UTF-8 as Python reads it, NUL, a lone surrogate, a character of four bytes, a colour.
ODD = ("bad \udcff\udcfe byte", "a\x00b", "lone \ud800 surrogate", "snake 🐍", "\x1b[31mred\x1b[0m")


class Command(JobCommand):
    help = "Print, and say how long it took and how much memory it needed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--megabytes", type=int, default=0)
        parser.add_argument("--odd", action="store_true")
        parser.add_argument("--long-line", type=int, default=0, metavar="BYTES")
        parser.add_argument("--full-disk", action="store_true", help="Write to a device that is full.")

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        begin, memory = time.monotonic(), _peak_memory()
        for _ in range(options["megabytes"] * 5000):
            self.stdout.write(LINE)
        for text in ODD if options["odd"] else ():
            self.stdout.write(text)
        if options["long_line"]:
            self.stdout.write("y" * options["long_line"])
        if options["full_disk"]:
            with open("/dev/full", "w") as full:  # noqa: PTH123 - it is the device's name that matters
                full.write("no room")
        traces.leave(self.run, f"seconds={time.monotonic() - begin:.2f},kib={_peak_memory() - memory}")


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
