"""A job that writes to a file named by an option."""

from argparse import ArgumentParser, ArgumentTypeError, FileType
from pathlib import Path
from typing import Any

from jobledger import Concurrency, JobCommand


def existing_file(text: str) -> Path:
    """As many projects have it: it accepts only what this machine has."""
    if not Path(text).is_file():
        raise ArgumentTypeError(f"{text} does not exist")
    return Path(text)


class Command(JobCommand):
    help = "Write a line to a file."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--to", type=FileType("w"), help="Emptied first.")
        parser.add_argument("--source", type=existing_file)
        parser.add_argument("--new", type=FileType("x"), help="Must not exist yet.")

    def handle(self, *args: Any, **options: Any) -> None:
        for file in filter(None, (options["to"], options["new"])):
            with file:
                file.write("exported\n")
