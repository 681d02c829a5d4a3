"""What the broker was given, as the ledger is told: how often, and when it comes up again.

A run that was published comes up again at growing intervals until somebody claims it: a message that Redis
lost is published again, and a long queue is not flooded with copies.

Who has thousands to publish tells the ledger a little later, when the messages are on their way; of a run
that was claimed by then, nothing needs to be told. One that is killed before leaves its last ones out. They
come up again when the grace of who recorded them has passed: a message too many, and a run is claimed once.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from jobledger.models import Run, Status

LONGEST_INTERVAL = timedelta(hours=1)
LONGEST_WAIT_SECONDS = 6.0
"""Well within the grace of who recorded them."""
MOST = 10_000
AT_ONCE = 1000

_State = tuple[int, int, str]
"""Attempt, number of times it was published, concurrency key."""


class Published:
    """Jobs' runs that were published, and are not noted in the ledger yet."""

    def __init__(self) -> None:
        """None so far."""
        self._waiting: defaultdict[_State, list[UUID]] = defaultdict(list)
        self._since = 0.0

    def add(self, runs: Sequence[Run]) -> None:
        """They have been published once more than they say."""
        if not self._waiting:
            self._since = time.monotonic()
        for run in runs:
            self._waiting[run.attempt, run.publish_count, run.concurrency_key].append(run.pk)

    @property
    def is_pressing(self) -> bool:
        """Whether they should be noted however busy one is."""
        is_old = bool(self._waiting) and time.monotonic() - self._since >= LONGEST_WAIT_SECONDS
        return is_old or sum(map(len, self._waiting.values())) >= MOST

    def write(self) -> None:
        """Note them. Raises what the database raises; what is not noted stays for the next time."""
        while self._waiting:
            state, run_ids = next(iter(self._waiting.items()))
            while run_ids:
                _note(run_ids[:AT_ONCE], state)
                del run_ids[:AT_ONCE]
            del self._waiting[state]


def publish_interval(publish_count: int) -> timedelta:
    """How long a run that was published so often is left alone."""
    doublings = min(max(publish_count - 1, 0), 10)
    first = timedelta(seconds=settings.REPUBLISH_AFTER_SECONDS)
    return min(first * (1 << doublings), LONGEST_INTERVAL)


def _note(run_ids: Sequence[UUID], state: _State) -> None:
    attempt, count, key = state
    # One that is in another state by now has a time of its own, to begin its next attempt or after a wait.
    same = Run.objects.filter(
        pk__in=run_ids, status=Status.QUEUED, attempt=attempt, publish_count=count, concurrency_key=key
    )
    same.update(publish_count=count + 1, publish_after=timezone.now() + publish_interval(count + 1))
