"""A command that stays unreachable: no job, and not exposed."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.probes import written


class Command(BaseCommand):
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--write", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["write"]:
            written.write(self)
        else:
            self.stdout.write("nobody should see this")
