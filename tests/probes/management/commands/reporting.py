"""The lasting job with a queue of its own."""

from jobledger import Concurrency
from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "Last for some seconds, in a queue of its own."
    concurrency = Concurrency.ALLOW
    queue = "reports"
