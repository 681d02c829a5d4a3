"""Which runs' ends are to be read from Celery's result backend, and for how long."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction

from jobledger import clock
from jobledger.alerts import recording
from jobledger.jobs import registry
from jobledger.models import ProcessKind, Reason, Run, Status, Why
from jobledger.runs import ordinary_tasks
from jobledger.runs.elsewhere import backend

MAX_SILENCE = timedelta(days=1)
"""After that, nothing more is expected to be heard of an ordinary task whose message was sent."""
FIRST_LOOK = timedelta(seconds=2)


def expect(runs: Sequence[Run]) -> None:
    """Set ``look_at`` of runs, not yet sent, that workers without this service are going to execute.

    It is not saved here. It stays empty if the result backend cannot be read.
    """
    tasks = [run for run in runs if run.job not in registry.all_jobs()]
    if not tasks or backend.why_unreadable():
        return
    now = clock.now()
    own = [run for run in tasks if ordinary_tasks.is_reported(run.job)]
    for run in [*(run for run in tasks if run not in own), *_unread(own, now)]:
        run.look_at = now + FIRST_LOOK


def sent(runs: Iterable[Run], now: datetime) -> None:
    """Record that the messages of these runs of ordinary tasks were sent.

    The runs of tasks that no worker of this project knows do not stay queued.
    """
    queued, look_at = Run.objects.in_state(Status.QUEUED), now + FIRST_LOOK
    reported, own, others = list[UUID](), list[UUID](), list[UUID]()
    unknown = list[UUID]()
    for run in runs:
        if ordinary_tasks.is_reported(run.job):
            (own if run.look_at else reported).append(run.pk)
        else:
            (others if run.look_at else unknown).append(run.pk)
    if reported:
        queued.filter(pk__in=reported).update(sent_at=now)
    if own:
        queued.filter(pk__in=own).update(sent_at=now, look_at=look_at)
    if others:
        why = Why.of(Reason.AWAITS_RESULT, within_seconds=MAX_SILENCE)
        awaiting = {"status": Status.SENT, "publish_after": None, "look_at": look_at, **why.columns}
        queued.filter(pk__in=others).update(sent_at=now, **awaiting)
    give_up(unknown, Why.of(Reason.NO_RESULT_BACKEND, backend=backend.why_unreadable()), now)


def give_up(pks: Sequence[UUID], why: Why, now: datetime) -> None:
    """End those of the runs that have not ended: nothing is known of their outcome, nor ever will be."""
    if not pks:
        return
    unknown = Run.objects.filter(pk__in=pks).unended().exclude(status=Status.RUNNING)
    ended = {"publish_after": None, "look_at": None, "finished_at": now, **why.columns}
    with transaction.atomic():
        given_up = list(unknown.order_by("pk").select_for_update().values_list("pk", flat=True))
        unknown.filter(pk__in=given_up).update(status=Status.SENT, **ended)
        recording.runs_ended(Run.objects.filter(pk__in=given_up), now)


def sent_at(run: Run) -> datetime:
    """When the message was sent, which may have had to wait for the broker, or should have been."""
    return max(sendable_at(run), run.sent_at or run.queued_at)


def sendable_at(run: Run) -> datetime:
    """The earliest time at which the message may have been sent."""
    return max(filter(None, [run.queued_at, run.start_after]))


def _unread(runs: Sequence[Run], now: datetime) -> Sequence[Run]:
    """Those whose queue is read by no worker with this service now; older ones may read it."""
    if not runs:
        return []
    # Not at the top, since they import the publisher, which imports this module.
    from jobledger.runs.service import presence, queues

    workers = presence.present(ProcessKind.WORKER, now).values_list("queues", flat=True)
    read = {name for names in workers for name in names}
    named = [(run, queues.queue_of_run(run.job, run.routing)) for run in runs]
    return [run for run, name in named if name and name not in read]
