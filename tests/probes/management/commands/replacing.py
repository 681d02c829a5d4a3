"""The lasting job with another choice about overlap."""

from tasks_app.jobs.command import Concurrency
from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "Last for some seconds."
    concurrency = Concurrency.REPLACE
