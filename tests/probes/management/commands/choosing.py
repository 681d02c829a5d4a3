"""A job with options of many kinds, two of them secret: for looking at what people see of them."""

from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.core.management import CommandError

from jobledger import Concurrency, JobCommand


class Command(JobCommand):
    help = "Print what was chosen.\n\nThe rest of a long help."
    concurrency = Concurrency.ALLOW
    secret_options = ("pin",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", help="Whose.")
        parser.add_argument("--days", type=int, default=30, help="How many days (default: %(default)s).")
        parser.add_argument("--dry-run", action="store_true", help="Change nothing.")
        parser.add_argument("--cache", action=BooleanOptionalAction, help="Read from the cache.")
        parser.add_argument("--format", choices=["text", "json", "csv"], default="text", help="How to print.")
        parser.add_argument("--colour", nargs="?", const="auto", help="In colour.")
        parser.add_argument("--tag", action="append", help="Only with this tag; may be given again.")
        access = parser.add_argument_group("Access", "How to reach the other side.")
        access.add_argument("--api-key", help="The key.")
        access.add_argument("--pin", help="The code of the day.")
        which = parser.add_argument_group("Selection").add_mutually_exclusive_group()
        which.add_argument("--all", action="store_true", help="Everything there is.")
        which.add_argument("--only", help="This one alone.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["api_key"] == "hunter2":
            raise CommandError(f"The key {options['api_key']!r} was refused.")
        self.stdout.write(f"{options['format']} {options['days']} {'dry' if options['dry_run'] else 'real'}")
