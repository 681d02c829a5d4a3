"""A job that leaves its process in disorder, and says in what state it found it."""

import json
import locale
import os
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.db import connection, transaction
from django.utils import timezone, translation

from jobledger import JobCommand
from jobledger.models import Run
from tests.probes import traces


class Command(JobCommand):
    help = "Show the process's state, and leave it in disorder when asked to."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--transaction", action="store_true")
        parser.add_argument("--atomic", action="store_true")
        parser.add_argument("--close", action="store_true")
        parser.add_argument("--settings-of-process", action="store_true")
        parser.add_argument("--exit", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        self.stdout.write(json.dumps(state()))
        if options["settings_of_process"]:
            _disorder()
        if options["transaction"]:
            transaction.set_autocommit(False)
            Run.objects.filter(job="leaving").update(username="never committed")
        if options["atomic"]:
            transaction.atomic().__enter__()
            Run.objects.filter(job="leaving").update(username="never committed")
        if options["close"]:
            connection.close()
        if options["exit"] is not None:
            sys.exit(options["exit"])


def state() -> dict[str, Any]:
    """What a job may rely on."""
    return {
        "pid": os.getpid(),
        "folder": os.getcwd(),  # noqa: PTH109
        "TZ": os.environ.get("TZ"),
        "tzname": time.tzname,
        "locale": locale.setlocale(locale.LC_ALL),
        "zone": timezone.get_current_timezone_name(),
        "language": translation.get_language(),
        "autocommit": transaction.get_autocommit(),
        "atomic": connection.in_atomic_block,
    }


def _disorder() -> None:
    os.chdir("/")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    locale.setlocale(locale.LC_ALL, "C")
    timezone.activate("Europe/Paris")
    translation.activate("de")
