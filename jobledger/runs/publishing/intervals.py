"""How long a queued run stays unpublished, or unclaimed, before it is published or published again."""

from datetime import timedelta

from jobledger.conf import settings

GRACE_PERIOD = timedelta(seconds=10)
"""For the process that has created the run, or has taken it in order to publish it."""
MAX_INTERVAL = timedelta(hours=1)


def publish_interval(publish_count: int) -> timedelta:
    """How long to wait before publishing a run again that has been published this many times."""
    doublings = min(max(publish_count - 1, 0), 10)
    first = timedelta(seconds=settings.REPUBLISH_AFTER_SECONDS)
    return min(first * (1 << doublings), MAX_INTERVAL)
