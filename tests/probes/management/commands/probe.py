"""A job that does what its options say: for looking at what the service makes of it."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management import CommandError, call_command

from jobledger import JobCommand
from tests.probes import traces


class Command(JobCommand):
    help = "Do what the options say."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("words", nargs="*")
        parser.add_argument("--level", type=int, choices=[1, 2, 3], default=1)
        parser.add_argument("--warn")
        parser.add_argument("--partial")
        parser.add_argument("--returns")
        parser.add_argument("--show-slot", action="store_true")
        parser.add_argument("--child", help="Call this job again with --fail or with these words.")
        parser.add_argument("--fail", help="Raise CommandError with this text.")
        parser.add_argument("--returncode", type=int, default=1)
        parser.add_argument("--crash", help="Raise RuntimeError with this text.")
        parser.add_argument("--exit", type=int, help="Call sys.exit.")
        parser.add_argument("--exit-text", help="Call sys.exit with a text.")
        parser.add_argument("--interrupt", action="store_true")
        parser.add_argument("--nul", action="store_true", help="Print and fail with NUL characters.")

    def handle(self, *args: Any, **options: Any) -> str | None:
        traces.leave(self.run, "begin")
        for word in options["words"]:
            self.stdout.write(word)
        if options["warn"]:
            self.stderr.write(options["warn"])
        if options["partial"]:
            self.stdout.write(options["partial"], ending="")
        if options["show_slot"]:
            self.stdout.write(f"slot {self.scheduled_for.isoformat()}")
        if options["child"]:
            call_command("probe", options["child"], "--show-slot", stdout=self.stdout)
        self._end(options)
        returns: str | None = options["returns"]
        return returns

    def _end(self, options: dict[str, Any]) -> None:
        if options["nul"]:
            self.stdout.write("a\x00b")
            raise CommandError("c\x00d")
        if options["fail"]:
            raise CommandError(options["fail"], returncode=options["returncode"])
        if options["crash"]:
            raise RuntimeError(options["crash"])
        if options["exit"] is not None:
            sys.exit(options["exit"])
        if options["exit_text"]:
            sys.exit(options["exit_text"])
        if options["interrupt"]:
            raise KeyboardInterrupt
