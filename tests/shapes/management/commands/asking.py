"""A job that reads from a terminal, in all ways."""

import getpass
import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from jobledger import Concurrency, JobCommand


class Command(JobCommand):
    help = "Read, and print what was read."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("how", choices=["input", "getpass", "read", "lines", "subprocess"])

    def handle(self, *args: Any, how: str, **options: Any) -> str:
        match how:
            case "input":
                read = input("Who are you? ")
            case "getpass":
                read = getpass.getpass()
            case "read":
                read = sys.stdin.read()
            case "lines":
                read = "".join(sys.stdin)
            case _:
                read = subprocess.run(["cat"], capture_output=True, text=True, check=True).stdout
        return f"read {read!r}"
