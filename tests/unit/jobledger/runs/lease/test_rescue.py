"""Runs whose process died are found by their lease; a worker that shuts down cancels its own runs."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from jobledger.models import Reason, Run, Status, Trigger
from jobledger.runs.identity import IDENTITY
from jobledger.runs.lease import rescue
from jobledger.runs.lease.watch import Watch
from jobledger.runs.publishing import publisher
from jobledger.runs.worker import main_process
from tests.unit.builders import NOON, override

LEASE = timedelta(seconds=60)


pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def lease(settings: Settings) -> None:
    override(settings, LEASE_SECONDS=60)


def running(silent_seconds: float = 0, **values: Any) -> Run:
    heartbeat_at = NOON - timedelta(seconds=silent_seconds)
    defaults = {"job": "lasting", "trigger": Trigger.SCHEDULE, "status": Status.RUNNING, "worker": "w:1"}
    return Run.objects.create(**{**defaults, "started_at": NOON, "heartbeat_at": heartbeat_at, **values})


def look(watch: Watch | None = None) -> int:
    """Rescue runs, by default without any blackouts."""
    return rescue.rescue(NOON, watch or Watch(NOON))


def test_a_run_without_a_heartbeat_for_longer_than_its_lease_is_lost() -> None:
    run = running(61)
    assert look() == 1
    run.refresh_from_db()
    assert run.status == Status.LOST
    facts = {"worker": "w:1", "heartbeat_at": "2026-03-01T11:58:59+00:00"}
    assert (run.reason, run.reason_details) == (Reason.LOST_HEARTBEAT, facts)


def test_a_run_with_a_recent_heartbeat_is_left_alone() -> None:
    running(59)
    assert look() == 0


def test_after_a_blackout_a_run_has_the_rest_of_its_lease() -> None:
    # The database was unavailable for an hour; the run's last heartbeat was just before that.
    running(3600.5)
    watch = Watch(NOON - timedelta(seconds=3600))
    assert look(watch) == 0
    later = [NOON + timedelta(seconds=seconds) for seconds in range(1, 61)]
    assert [rescue.rescue(time, watch) for time in later] == [0] * 59 + [1]


def test_no_run_is_lost_while_the_database_accepts_no_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running(40.5)
    watch = Watch(NOON)

    def refuse(silent: Any) -> bool:
        raise OperationalError("disk full")

    with monkeypatch.context() as full:
        full.setattr(rescue, "_can_be_written", refuse)
        for second in range(60):
            with pytest.raises(OperationalError):
                rescue.rescue(NOON + timedelta(seconds=second), watch)
    # The first forty seconds count, and then twenty more, but not the sixty in between.
    later = [NOON + timedelta(seconds=60 + second) for second in range(21)]
    assert [rescue.rescue(time, watch) for time in later] == [0] * 20 + [1]


def test_checking_a_run_without_a_recent_heartbeat_changes_nothing() -> None:
    run = running(40)
    look()
    assert Run.objects.get().heartbeat_at == run.heartbeat_at


def test_only_running_runs_have_a_lease() -> None:
    running(1000, status=Status.SUCCEEDED)
    running(1000, status=Status.QUEUED)
    assert look() == 0


def test_a_lost_run_is_ended_once() -> None:
    running(61)
    assert [look(), look()] == [1, 0]


def test_a_lost_run_restarts_if_its_job_allows_it() -> None:
    run = running(61, job="restarting")
    look()
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("queued", 2)


def test_a_run_that_waited_for_a_lost_run_is_published_at_beats_next_tick(
    monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    published: list[Run] = []
    monkeypatch.setattr(publisher, "try_to_publish", published.extend)
    running(61, concurrency_key="lasting")
    later = timezone.now() + timedelta(hours=1)
    waiting = running(status=Status.QUEUED, concurrency_key="lasting", publish_after=later)
    with django_capture_on_commit_callbacks(execute=True):
        look()
    waiting.refresh_from_db()
    assert published == []
    assert waiting.publish_after is not None
    assert waiting.publish_after <= timezone.now()


def test_a_lost_run_that_exceeded_its_time_limit_has_timed_out() -> None:
    run = running(61, job="limited", started_at=NOON - timedelta(minutes=5))
    look()
    run.refresh_from_db()
    assert run.status == Status.TIMED_OUT


def test_a_worker_that_shuts_down_cancels_only_its_own_runs() -> None:
    mine = running(worker="celery@me:1", worker_identity=IDENTITY)
    others = running(worker="celery@you:1"), running(worker="celery@me:1", worker_identity="also celery@me")
    main_process.cancel_all("celery@me")
    mine.refresh_from_db()
    assert (mine.reason, mine.reason_details) == (Reason.WORKER_SHUTDOWN, {"worker": "celery@me"})
    for other in others:
        other.refresh_from_db()
        assert other.cancel_requested_at is None
