"""A job that passes the rest of its command line on."""

from argparse import REMAINDER, ArgumentParser
from typing import Any

from jobledger import JobCommand


class Command(JobCommand):
    help = "Print the rest of the command line."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("command")
        parser.add_argument("rest", nargs=REMAINDER)

    def handle(self, *args: Any, **options: Any) -> str:
        return " ".join([options["command"], *options["rest"]])
