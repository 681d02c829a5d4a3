"""Looks for the ends of tasks in Celery's result backend, and records them.

A look takes at most a few statements for each batch of runs, and a few more for each run that has ended. The
next look at a run comes later the longer its end is awaited: of ten thousand runs whose ends are never
stored, some twenty are looked at each second.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from celery import current_app, states
from django.db import transaction

from jobledger import clock
from jobledger.escapes import line_logger
from jobledger.jobs import secrets
from jobledger.models import LIVE, Reason, Run, Status, Why
from jobledger.runs.elsewhere import awaiting, backend
from jobledger.runs.elsewhere.awaiting import MAX_SILENCE
from jobledger.runs.elsewhere.backend import Result, Results, Undecodable

logger = line_logger(__name__)

LONGEST_WAIT_SECONDS = 512
"""Between two looks."""
MAX_OUTAGE = timedelta(days=2)
"""How long a run waits if the result backend does not answer."""
DOWN_SECONDS = 15.0
"""How long to wait before the next look if it does not answer."""

AWAITED = (Status.QUEUED, Status.SENT)
"""The states of runs whose ends are looked for."""


class Looking:
    """The looks of this process, one at a time. Logs changes only: the backend is down, or back."""

    def __init__(self) -> None:
        self._is_up = True
        self._look_at = 0.0

    def look(self) -> None:
        """Look at all that is due. Raises database errors."""
        while time.monotonic() >= self._look_at and (claimed := claim()):
            try:
                found = backend.read([run.pk for run in claimed])
            except backend.BackendDownError as error:
                self._note_down(error)
                _give_up(claimed, MAX_OUTAGE, Reason.NO_ANSWER)
                return
            self._note_up()
            record(claimed, found)

    def _note_down(self, error: Exception) -> None:
        self._look_at = time.monotonic() + DOWN_SECONDS
        if self._is_up:
            logger.error("The ends of tasks cannot be read from Celery's result backend: %s", error)
        self._is_up = False

    def _note_up(self) -> None:
        if not self._is_up:
            logger.info("Celery's result backend is back")
        self._is_up = True


def is_due(now: datetime) -> bool:
    """Whether there is a run to look at."""
    return Run.objects.filter(look_at__lte=now).exists()


def claim() -> list[Run]:
    """Some runs that are due. No other process looks at them until they are due again."""
    now = clock.now()
    groups = defaultdict[timedelta | None, list[UUID]](list)
    with transaction.atomic():
        due = Run.objects.filter(look_at__lte=now).order_by("look_at")
        runs = list(due.select_for_update(skip_locked=True)[: backend.BATCH])
        awaited = [run for run in runs if run.status in AWAITED]
        for run in runs:
            # Some have ended otherwise since they were sent. Of those that were cancelled in the queue, the
            # messages are forgotten by now.
            length = time_to_wait(now - awaiting.sent_at(run)) if run in awaited else None
            groups[length].append(run.pk)
        for length, pks in groups.items():
            Run.objects.filter(pk__in=pks).update(look_at=length and now + length)
    return awaited


def time_to_wait(age: timedelta) -> timedelta:
    """Until the next look: a quarter of the time since the message was sent, rounded to a power of two.

    Results that are deleted soon are looked for more often.
    """
    doublings = max(int(age.total_seconds() / 4), 1).bit_length() - 1
    longest = min(LONGEST_WAIT_SECONDS, float(_seconds_kept() or math.inf) / 2)
    return timedelta(seconds=max(min(2.0**doublings, longest), 1.0))


def record(claimed: Sequence[Run], found: Results) -> None:
    """Record what was found of these runs. Those of which nothing is found for too long are given up."""
    pending = list[Run]()
    for run in claimed:
        match found.get(run.pk):
            case Undecodable(problem=problem):
                text = secrets.without_secrets(run.job, run.options, problem, args=run.args)
                why = Why.of(Reason.UNREADABLE_RESULT, error=text)
                awaiting.give_up([run.pk], why, clock.now())
            case Result() as result if result.state in states.READY_STATES:
                # Every beat looks for ends, and most never find one: what records it is imported then.
                from jobledger.runs.elsewhere import ends

                ends.record(run, result)
            case Result() as result:
                _note_state(run, result)
                pending.append(run)
            case None:
                pending.append(run)
    _give_up(pending, MAX_SILENCE, Reason.NO_RESULT)


def _note_state(run: Run, result: Result) -> None:
    """Note that it has begun, or is tried again. The state of the run does not say so."""
    noted = run.reason_details
    state = {"state": result.state, **({"worker": result.worker} if result.worker else {})}
    if run.status == Status.SENT and {**noted, **state} != noted:
        sent = Run.objects.filter(pk=run.pk).unended().exclude(status__in=LIVE)
        sent.update(reason_details={**noted, **state})


def _give_up(runs: Iterable[Run], after: timedelta, reason: Reason) -> None:
    now = clock.now()
    silent = [run.pk for run in runs if awaiting.sent_at(run) <= now - after]
    awaiting.give_up(silent, Why.of(reason, within_seconds=after), now)


def _seconds_kept() -> float | None:
    """How long results are kept; None if that is not limited."""
    expires = current_app.conf.result_expires
    return expires.total_seconds() if isinstance(expires, timedelta) else expires
