"""What a badge says of a schedule or a job."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.feeds import status
from jobledger.feeds.badge import Tone
from jobledger.models import Feed, NextSlot, Reason, Status, Trigger
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.builders import NOON
from tests.unit.jobledger.feeds.builders import badge, cron, due_at, run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def nightly() -> PeriodicTask:
    return cron()


def said(feed: Feed) -> tuple[str, Tone]:
    feed = Feed.objects.select_related("schedule__next_slot").get(pk=feed.pk)
    found = status.read(feed, timezone.now())
    return found.text, found.tone


@pytest.mark.parametrize(
    ("outcome", "text", "tone"),
    [
        (Status.SUCCEEDED, "succeeded", Tone.GOOD),
        (Status.FAILED, "failed", Tone.BAD),
        (Status.TIMED_OUT, "timed out", Tone.BAD),
        (Status.LOST, "lost", Tone.BAD),
        (Status.MISSED, "missed", Tone.BAD),
        (Status.CANCELLED, "cancelled", Tone.CALM),
        (Status.SKIPPED, "skipped", Tone.CALM),
    ],
)
def test_a_badge_says_how_the_last_run_ended(
    nightly: PeriodicTask, outcome: Status, text: str, tone: Tone
) -> None:
    run(Status.SUCCEEDED if outcome is Status.FAILED else outcome, schedule=nightly, queued_at=NOON - MINUTE)
    run(outcome, schedule=nightly)
    assert said(badge(schedule=nightly)) == (text, tone)


def test_nothing_has_run_yet(nightly: PeriodicTask) -> None:
    assert said(badge(schedule=nightly)) == ("no runs", Tone.CALM)


def test_a_run_that_was_skipped_or_is_covered_by_another_says_nothing(nightly: PeriodicTask) -> None:
    run(Status.FAILED, schedule=nightly, queued_at=NOON - 3 * MINUTE)
    run(Status.SKIPPED, schedule=nightly, queued_at=NOON - 2 * MINUTE)
    run(Status.MISSED, schedule=nightly, queued_at=NOON - MINUTE, reason=Reason.COALESCED)
    assert said(badge(schedule=nightly)) == ("failed", Tone.BAD)


def test_a_task_whose_end_is_awaited_says_nothing_yet(nightly: PeriodicTask) -> None:
    awaited = run(Status.SENT, schedule=nightly, look_at=NOON)
    assert said(badge(schedule=nightly)) == ("sent", Tone.CALM)
    run(Status.FAILED, schedule=nightly, queued_at=NOON - MINUTE)
    assert said(badge(schedule=nightly)) == ("failed", Tone.BAD)
    type(awaited).objects.filter(pk=awaited.pk).update(look_at=None)
    assert said(badge(schedule=nightly)) == ("sent", Tone.GOOD)


def test_the_first_run_is_not_called_skipped_while_it_is_queued(nightly: PeriodicTask) -> None:
    run(Status.QUEUED, schedule=nightly, started_at=None, finished_at=None)
    assert said(badge(schedule=nightly)) == ("queued", Tone.CALM)


def test_runs_of_others_and_of_backfills_say_nothing(nightly: PeriodicTask) -> None:
    run(Status.SUCCEEDED, schedule=nightly, queued_at=NOON - MINUTE)
    run(Status.FAILED, schedule=nightly, trigger=Trigger.BACKFILL)
    run(Status.RUNNING, schedule=nightly, trigger=Trigger.BACKFILL)
    run(Status.FAILED)
    run(Status.RUNNING)
    assert said(badge(schedule=nightly)) == ("succeeded", Tone.GOOD)


@pytest.mark.parametrize(
    ("last", "text", "tone"),
    [
        (Status.SUCCEEDED, "running", Tone.BUSY),
        (Status.FAILED, "running, last run failed", Tone.BAD),
    ],
)
def test_a_running_run_does_not_hide_a_failure(
    nightly: PeriodicTask, last: Status, text: str, tone: Tone
) -> None:
    run(last, schedule=nightly, queued_at=NOON - MINUTE)
    run(Status.RUNNING, schedule=nightly, finished_at=None)
    assert said(badge(schedule=nightly)) == (text, tone)


def test_a_long_run_is_running_although_many_later_ones_were_skipped(nightly: PeriodicTask) -> None:
    run(Status.RUNNING, schedule=nightly, queued_at=NOON - timedelta(hours=2))
    for minute in range(60):
        run(Status.SKIPPED, schedule=nightly, queued_at=NOON - minute * MINUTE)
    assert said(badge(schedule=nightly)) == ("running", Tone.BUSY)


def test_a_schedule_that_beat_has_not_planned_is_late(nightly: PeriodicTask) -> None:
    due_at(nightly, NOON - 2 * MINUTE)
    assert said(badge(schedule=nightly)) == ("late", Tone.WARN)
    due_at(nightly, NOON - MINUTE / 2)
    assert said(badge(schedule=nightly)) == ("no runs", Tone.CALM)


@pytest.mark.parametrize(
    ("times", "is_late"),
    [
        ({"queued_at": NOON - 2 * MINUTE}, True),
        ({"queued_at": NOON - MINUTE / 2}, False),
        ({"queued_at": NOON - MINUTE / 2, "waiting_since": NOON - 2 * MINUTE}, True),
        ({"queued_at": NOON - 2 * MINUTE, "start_after": NOON + MINUTE}, False),
    ],
)
def test_a_run_that_waits_for_a_worker_is_late(
    nightly: PeriodicTask, times: dict[str, Any], is_late: bool
) -> None:
    run(Status.QUEUED, schedule=nightly, **times)
    assert (said(badge(schedule=nightly))[0] == "late") is is_late


def test_a_paused_schedule_is_paused(nightly: PeriodicTask) -> None:
    run(Status.FAILED, schedule=nightly)
    pausing.pause(nightly, Terms(until=None), now=NOON)
    due_at(nightly, NOON - 2 * MINUTE)
    assert said(badge(schedule=nightly)) == ("paused, last run failed", Tone.BAD)


def test_a_pause_of_the_service_pauses_what_is_not_exempt(
    nightly: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    pausing.pause(None, Terms(until=None), now=NOON)
    of_schedule = badge(schedule=nightly)
    assert said(of_schedule) == ("paused", Tone.CALM)
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    assert said(of_schedule) == ("no runs", Tone.CALM)


def test_a_disabled_or_invalid_schedule_is_neither_late_nor_failed(nightly: PeriodicTask) -> None:
    of_schedule = badge(schedule=nightly)
    NextSlot.objects.filter(pk=nightly.pk).update(due_at=None, broken="no such task")
    assert said(of_schedule) == ("invalid", Tone.BAD)
    PeriodicTask.objects.filter(pk=nightly.pk).update(enabled=False)
    assert said(of_schedule) == ("disabled", Tone.CALM)


def test_a_jobs_badge_is_about_all_its_runs(nightly: PeriodicTask) -> None:
    of_job = badge(job="probe")
    run(Status.FAILED)
    assert said(of_job) == ("failed", Tone.BAD)
    run(Status.RUNNING, schedule=nightly, queued_at=NOON - MINUTE)
    assert said(of_job) == ("running, last run failed", Tone.BAD)
    due_at(nightly, NOON - 2 * MINUTE)
    assert said(of_job) == ("late, last run failed", Tone.BAD)
    pausing.pause(None, Terms(until=None), now=NOON)
    assert said(of_job) == ("paused, last run failed", Tone.BAD)


def test_a_job_that_is_gone_has_its_last_run() -> None:
    of_job = badge(job="gone")
    cron(task="x.y")
    run(Status.SUCCEEDED, job="gone")
    assert said(of_job) == ("succeeded", Tone.GOOD)


def test_the_details_have_the_time_of_the_last_run(nightly: PeriodicTask) -> None:
    run(Status.FAILED, schedule=nightly)
    assert status.read(badge(schedule=nightly), NOON).details == "last run 2026-03-01 12:00:00 UTC"
