"""A job that does nothing, or only queries the database, so that all the time is the service's."""

from argparse import ArgumentParser
from typing import Any

from django.db import connection

from jobledger import Concurrency, JobCommand


class Command(JobCommand):
    help = "Do nothing."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--query", action="store_true", help="Query the database once.")

    def handle(self, *args: Any, query: bool, **options: Any) -> None:
        if query:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
