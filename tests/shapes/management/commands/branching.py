"""A job with subcommands."""

from argparse import ArgumentParser
from typing import Any

from jobledger import Concurrency, JobCommand


class Command(JobCommand):
    help = "Do one of two things."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        fetch = actions.add_parser("fetch")
        fetch.add_argument("url")
        fetch.add_argument("--tries", type=int, default=1)
        actions.add_parser("purge").add_argument("--all", action="store_true")

    def handle(self, *args: Any, **options: Any) -> str:
        return f"{options['action']} {options.get('url')} {options.get('tries')} {options.get('all')}"
