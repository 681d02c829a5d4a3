"""The lasting job with another choice about overlap."""

from jobledger import Concurrency
from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "Last for some seconds."
    concurrency = Concurrency.REPLACE
