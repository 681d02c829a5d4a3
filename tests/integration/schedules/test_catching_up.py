"""Beat takes over what another beat has left, and catches up on downtime and on unnoticed changes."""

import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from tests.integration.database import rows
from tests.integration.schedules.beats import newer_slot, settled, this_second
from tests.integration.service import STOCK_SCHEDULER, Service
from tests.integration.slots import (
    Span,
    copy_schedule,
    count_due,
    insert_bad_crontab,
    is_settled,
    move_back,
    newest_slot,
    perfect,
    reason_it_is_broken,
    schedule_every_second,
    statuses,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.takes_long

RECORD_WITHOUT_PUBLISHING = """
from django.utils import timezone
from jobledger.schedules.due import ledger
ledger.record_due(timezone.now())
"""
HOURLY = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask
from jobledger.models import SchedulePolicy
hourly = CrontabSchedule.objects.create(minute="{minute}", timezone="UTC")
for misfire in "once", "skip", "all":
    made = PeriodicTask.objects.create(name=f"week {{misfire}}", task="probes.trace", crontab=hourly)
    SchedulePolicy.objects.filter(schedule=made).update(misfire=misfire, catch_up_limit=5)
"""
UPDATE_WITHOUT_A_SIGNAL = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
second = IntervalSchedule.objects.get(every=1, period="seconds")
PeriodicTask.objects.filter(name="updated 0").update(interval=second)
"""


def test_another_beat_publishes_what_a_beat_has_only_recorded(running: Service) -> None:
    schedule_every_second(running, "recorded", count=20, every=3)
    wait_until(lambda: count_due(running) == 20, what="all are due")
    # The first half of a tick: beat ends before it has published anything.
    running.shell(RECORD_WITHOUT_PUBLISHING)
    slot = newest_slot(running, "recorded", "queued")
    assert slot
    # Other beats give it ten seconds to publish them itself.
    rows(running, "UPDATE jobledger_run SET publish_after = ? WHERE status = 'queued'", datetime.now(UTC))
    running.start_beat()
    figures = settled(running, "recorded", Span(since=slot, until=slot))
    print(figures)
    assert figures == perfect(20)


def test_after_a_week_of_downtime_each_schedule_follows_its_misfire_policy(running: Service) -> None:
    now = datetime.now(UTC)
    running.shell(HOURLY.format(minute=(now.minute + 30) % 60))
    move_back(running, now - timedelta(days=7))
    running.start_beat()
    newest = (now - timedelta(minutes=30)).replace(second=0, microsecond=0)
    wait_until(lambda: is_settled(running, "week", newest), what="the week is worked off")
    told = {policy: statuses(running, f"week {policy}") for policy in ("once", "skip", "all")}
    print(told)
    # The newest hundred have a row each; one row covers those before them.
    assert told["once"] == {"succeeded": (1, 0), "missed": (100, 67)}
    assert told["skip"] == {"missed": (101, 67)}
    # Actually 162, but they are not counted beyond a hundred.
    assert told["all"] == {"succeeded": (5, 0), "missed": (1, 100)}


def test_edits_without_a_signal_are_noticed_within_half_a_minute(running: Service) -> None:
    schedule_every_second(running, "steady")
    schedule_every_second(running, "updated", every=86_400)
    running.start_beat()
    wait_until(lambda: newest_slot(running, "steady"), what="a run succeeds")
    begin = time.monotonic()
    running.shell(UPDATE_WITHOUT_A_SIGNAL)
    copy_schedule(running, "steady 0", "inserted")
    copy_schedule(running, "steady 0", "impossible", crontab_id=insert_bad_crontab(running))
    noticed = {}
    for name in "updated", "inserted":
        wait_until(partial(newest_slot, running, name), what=f"a run of {name}")
        noticed[name] = time.monotonic() - begin
    reason = wait_until(lambda: reason_it_is_broken(running, "impossible"), what="the reason")
    print(f"noticed after seconds: {noticed}; {reason!r}")
    assert max(noticed.values()) < 30
    assert "minute" in reason
    slot = this_second()
    wait_until(lambda: newer_slot(running, "steady", slot), what="the others go on")


def test_the_stock_scheduler_can_be_chosen_and_its_runs_are_recorded(running: Service) -> None:
    schedule_every_second(running, "stock")
    running.start_beat("beat-stock", *STOCK_SCHEDULER)
    wait_until(lambda: "succeeded" in statuses(running, "stock 0"), what="a run that it sent")
    run = running.runs("--status", "succeeded", "--limit", "1")[0]
    print(f"{run['trigger']} run of {run['schedule']!r} {run['status']}")
    assert (run["trigger"], run["schedule"], run["scheduled_for"]) == ("schedule", "stock 0", None)
