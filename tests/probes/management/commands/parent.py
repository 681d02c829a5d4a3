"""A composite: a job that calls another one."""

from argparse import ArgumentParser
from typing import Any

from django.core.management import call_command

from jobledger import JobCommand
from tests.probes import traces


class Command(JobCommand):
    help = "Call the lasting job."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=1)

    def handle(self, *args: Any, **options: Any) -> None:
        traces.leave(self.run, "begin")
        call_command("lasting", seconds=options["seconds"], tenant="child", stdout=self.stdout)
        traces.leave(self.run, "end")
