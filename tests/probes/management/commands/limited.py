"""The lasting job with a time limit, long enough to begin within it on a busy machine."""

from datetime import timedelta

from tests.probes.management.commands import lasting


class Command(lasting.Command):
    help = "Last for some seconds, five at most."
    time_limit = timedelta(seconds=5)
