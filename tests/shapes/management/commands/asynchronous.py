"""A job whose ``handle`` is a coroutine function."""

import asyncio
from argparse import ArgumentParser
from typing import Any

from jobledger import Concurrency, JobCommand
from jobledger.models import Run
from tests.probes import traces


class Command(JobCommand):
    help = "Count the runs of this job, or wait."
    concurrency = Concurrency.ALLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--last", action="store_true", help="Wait until it is cancelled.")

    async def handle(self, *args: Any, **options: Any) -> str:  # type: ignore[override]
        traces.leave(self.run, "begin")
        if options["last"]:
            await self._last()
        await asyncio.sleep(0)
        assert self.run is not None
        found = await Run.objects.filter(pk=self.run.pk).acount()
        return f"{found} of this run"

    async def _last(self) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            # Cleaning up may take a while, and a query.
            await asyncio.sleep(0.5)
            await Run.objects.acount()
            traces.leave(self.run, "cleanup")
