"""Which published runs are not late, but still in line: a long queue is not to be flooded with copies.

A queue is read in the order in which its messages were sent. So as long as a job's runs are being started,
and none that was queued after a run has been, that run's own message is probably not lost, but further back.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from jobledger.models import Run
from jobledger.runs.publishing.intervals import MAX_INTERVAL, publish_interval

KNOWN_FOR = timedelta(seconds=5)
"""How long what was found out is right enough: to find it out, all that is queued of a job is passed."""

LOOKS_PER_SECOND = 500
"""At how many runs in line beat looks at most, since each look writes. Should all messages have been lost, so
many runs are published again each second."""
COUNTED_FOR = timedelta(seconds=60)

_Queue = tuple[str, str]
"""A job, and its routing."""


class Line:
    """How far the queues have been read, as far as one process knows."""

    def __init__(self) -> None:
        self._known: dict[_Queue, tuple[datetime, datetime | None]] = {}
        """When it was found out, and what."""
        self._counted: tuple[datetime, int] | None = None
        """When all that is queued was counted, and how many that were."""

    def still_in_line(self, published: Sequence[Run], now: datetime) -> list[Run]:
        """Those of the published runs of jobs whose turn may not have come yet."""
        self._known = {
            queue: (at, reached) for queue, (at, reached) in self._known.items() if at <= now < at + KNOWN_FOR
        }
        groups: defaultdict[_Queue, list[Run]] = defaultdict(list)
        for run in published:
            groups[run.job, json.dumps(run.routing, sort_keys=True)].append(run)
        found = []
        for queue, runs in groups.items():
            if queue not in self._known:
                self._known[queue] = now, _reached(runs[0], now)
            _, reached = self._known[queue]
            found += [run for run in runs if reached is not None and run.queued_at >= reached]
        return found

    def look_again_at(self, now: datetime) -> datetime:
        """When to look again at those that are in line: the later, the more are queued."""
        counted = self._counted
        if counted is None or not counted[0] <= now < counted[0] + COUNTED_FOR:
            most = int(MAX_INTERVAL.total_seconds()) * LOOKS_PER_SECOND
            counted = self._counted = now, Run.objects.to_publish()[:most].count()
        return now + max(publish_interval(1), timedelta(seconds=counted[1] / LOOKS_PER_SECOND))


def _reached(like: Run, now: datetime) -> datetime | None:
    """When the newest run that was started of those in the same queue was queued.

    None if it was not started lately: then all messages may be lost. Only first attempts count, since a retry
    keeps the time at which its run was queued.
    """
    started = Run.objects.newest_of_job(like.job).filter(
        routing=like.routing, attempt=1, started_at__isnull=False
    )
    newest = started.values_list("queued_at", flat=True).first()
    if newest is None:
        return None
    # Many are queued at the same time.
    lately = started.filter(queued_at=newest, started_at__gt=now - publish_interval(1))
    return newest if lately.exists() else None
