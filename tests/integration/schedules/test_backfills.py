"""A backfill with real processes: one beat is killed half way, and each slot is run once all the same."""

import signal

from tests.integration.database import rows, uuid_of
from tests.integration.service import Service
from tests.integration.slots import traces_of
from tests.waiting import wait_until

START = """
from datetime import UTC, datetime, timedelta
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import SchedulePolicy, Trigger
from jobledger.schedules.backfills import backfilling
hour, _ = IntervalSchedule.objects.get_or_create(every=1, period="hours")
made = PeriodicTask.objects.create(name="backfilled", task="probes.trace", interval=hour, enabled=False)
SchedulePolicy.objects.filter(schedule=made).update(anchor=datetime(2026, 3, 1, tzinfo=UTC))
made.refresh_from_db()
begin = datetime(2026, 3, 1, tzinfo=UTC)
terms = backfilling.Terms(since=begin, until=begin + timedelta(hours=3), trigger=Trigger.CLI, username="ann")
backfilling.start(made, terms, now=timezone.now())
"""
RUNS = (
    "SELECT id, scheduled_for, started_at, finished_at FROM jobledger_run "
    "WHERE trigger = 'backfill' AND status = 'succeeded' ORDER BY started_at"
)
ENDED = "SELECT id FROM jobledger_backfill WHERE ended_at IS NOT NULL"


def test_each_slot_is_run_once_and_in_order_although_a_beat_is_killed(running: Service) -> None:
    running.start_beat("beat-to-be-killed")
    running.shell(START)
    wait_until(lambda: rows(running, RUNS), what="the first slot has been run")
    running.stop("beat-to-be-killed", signal.SIGKILL)
    running.start_beat("beat-that-goes-on")
    wait_until(lambda: rows(running, ENDED), what="the backfill has ended")
    found = rows(running, RUNS)
    slots = [scheduled_for for _, scheduled_for, _, _ in found]
    assert len(slots) == 3
    assert slots == sorted(set(slots))
    ends = [finished_at for *_, finished_at in found]
    assert all(begun > ended for (_, _, begun, _), ended in zip(found[1:], ends, strict=False))
    traces = traces_of(running)
    assert [traces[uuid_of(pk)] for pk, *_ in found] == [1] * 3
