"""A job that forks beside its heartbeat, as one that shares its work among processes does."""

import os
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from typing import Any, Never

from django.core.management.base import CommandError
from django.db import connections

from jobledger import JobCommand
from jobledger.jobs.declaration import Concurrency
from jobledger.models import Run
from tests.probes import traces


class Command(JobCommand):
    help = "Fork until the heartbeat was written a few times, and say so if a child inherits SQLite's files."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--endless", action="store_true", help="Fork, do nothing else, and do not end.")

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        try:
            if options["endless"]:
                _fork_all_the_time()
            self._fork()
        finally:
            traces.leave(self.run, "cleanup")

    def _fork(self) -> None:
        assert self.run is not None
        seen: set[datetime | None] = set()
        while len(seen) < 3:
            seen.add(Run.objects.values_list("heartbeat_at", flat=True).get(pk=self.run.pk))
            # As Django asks of whoever forks.
            connections.close_all()
            if (pid := os.fork()) == 0:
                os._exit(any("sqlite" in path for path in _open_files()))
            if os.waitpid(pid, 0)[1]:
                raise CommandError("A child has inherited a connection.")
        self.stdout.write("no child has inherited a connection")


def _fork_all_the_time() -> Never:
    while True:
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def _open_files() -> list[str]:
    return [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
