"""The lasting job with a time limit."""

from datetime import timedelta

from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "Last for some seconds, two at most."
    time_limit = timedelta(seconds=2)
