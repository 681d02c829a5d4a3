"""A chain with real processes: one beat is killed, and each run is followed once all the same."""

import signal

from tests.integration.database import rows
from tests.integration.service import Service
from tests.waiting import wait_until

START = """
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import SchedulePolicy
from jobledger.schedules.due import ledger
from jobledger.schedules import stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.stored_times import ChainTimes
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
then = PeriodicTask(name="then", task="probes.trace")
stored_schedules.assign(then, ChainTimes(after=("first",)))
then.save()
links.assign(then.pk, ["first"], timezone.now())
SchedulePolicy.objects.filter(schedule=then).update(after="success")
PeriodicTask.objects.create(name="first", task="probes.trace", interval=second)
SchedulePolicy.objects.update(misfire="all", concurrency="allow", max_live_per_schedule=100)
ledger.sync([then.pk], timezone.now())
"""
STOP = """
from django_celery_beat.models import PeriodicTask
first = PeriodicTask.objects.get(name="first")
first.enabled = False
first.save()
"""
SLOTS = (
    "SELECT scheduled_for FROM jobledger_run WHERE schedule_name = '{}' AND status = 'succeeded' "
    "ORDER BY scheduled_for"
)
LIVE = "SELECT id FROM jobledger_run WHERE status IN ('queued', 'running')"


def test_each_run_is_followed_once_although_a_beat_is_killed(running: Service) -> None:
    def slots_of(name: str) -> list[object]:
        return [slot for (slot,) in rows(running, SLOTS.format(name))]

    running.start_beat("beat-to-be-killed")
    running.shell(START)
    wait_until(lambda: slots_of("then"), what="the first run has been followed")
    running.stop("beat-to-be-killed", signal.SIGKILL)
    running.start_beat("beat-that-goes-on")
    seen = len(slots_of("then"))
    wait_until(lambda: len(slots_of("then")) > seen, what="another one has been followed")
    running.shell(STOP)
    wait_until(
        lambda: not rows(running, LIVE) and slots_of("then") == slots_of("first"),
        what="each of them has been followed",
    )
    assert len(set(slots_of("then"))) == len(slots_of("then"))
