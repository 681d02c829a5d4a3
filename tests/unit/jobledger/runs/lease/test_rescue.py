"""Runs whose process died are found by their lease; a worker that stops ends its own."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone
from pytest_django import Settings

from jobledger.models import Reason, Run, Status, Trigger
from jobledger.runs.dispatch import IDENTITY
from jobledger.runs.lease import rescue
from jobledger.runs.lease.rescue import Watch
from jobledger.runs.publishing import publisher
from jobledger.runs.worker import main_process
from tests.unit.builders import NOON

LEASE = timedelta(seconds=60)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def looks(watch: Watch, seconds: Iterable[float]) -> list[float]:
    """At each of the looks, since when a whole lease has been seen."""
    return [(watch.look(after(each), LEASE) - NOON).total_seconds() for each in seconds]


def test_who_looks_all_the_time_has_seen_the_last_sixty_seconds() -> None:
    assert looks(Watch(NOON), range(1, 200)) == [second - 60 for second in range(1, 200)]


def test_a_tick_that_takes_a_while_is_no_darkness() -> None:
    assert looks(Watch(NOON), [1, 16, 17]) == [-59, -44, -43]


def test_what_passed_in_the_dark_does_not_count() -> None:
    watch = Watch(NOON)
    looks(watch, range(1, 101))
    # Away from 100 to 1000: 30 seconds were seen since, 30 before.
    assert looks(watch, range(1000, 1031))[-1] == 70


def test_after_a_lease_of_sight_the_darkness_is_forgotten() -> None:
    watch = Watch(NOON)
    looks(watch, [100, *range(1000, 1062)])
    assert looks(watch, [1062, 1063]) == [1002, 1003]
    assert watch._dark == []


def test_several_outages_are_added_up() -> None:
    watch = Watch(NOON)
    seen = [*range(1, 41), *range(100, 111), *range(200, 211)]
    # Of sixty seconds ten were seen after the second outage, ten between the two, forty before the first.
    assert looks(watch, seen)[-1] == 0


def test_a_database_that_comes_and_goes_does_not_keep_a_lost_run_for_ever() -> None:
    watch = Watch(NOON)
    seen = [minute * 60 + second for minute in range(20) for second in range(10)]
    # Ten seconds of each minute: a lease is over after six minutes.
    assert looks(watch, seen)[-1] > 12 * 60


def test_a_clock_that_is_set_forward_loses_no_run() -> None:
    watch = Watch(NOON)
    looks(watch, range(1, 101))
    assert looks(watch, [3700]) == [40]


def test_a_clock_that_is_set_back_does_no_harm() -> None:
    watch = Watch(NOON)
    looks(watch, [1, 3600])
    assert looks(watch, [2, 3]) == [-58, -57]


pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def lease(settings: Settings) -> None:
    """Long enough to tell both sides of it apart."""
    settings.LEASE_SECONDS = 60


def running(silent_seconds: float = 0, **values: Any) -> Run:
    heartbeat_at = NOON - timedelta(seconds=silent_seconds)
    defaults = {"job": "lasting", "trigger": Trigger.SCHEDULE, "status": Status.RUNNING, "worker": "w:1"}
    return Run.objects.create(**{**defaults, "started_at": NOON, "heartbeat_at": heartbeat_at, **values})


def look(watch: Watch | None = None) -> int:
    """What a beat does that has seen all the time, or for as long as its watch says."""
    return rescue.rescue(NOON, watch or Watch(NOON))


def test_a_run_that_is_silent_for_longer_than_its_lease_is_lost() -> None:
    run = running(61)
    assert look() == 1
    run.refresh_from_db()
    assert run.status == Status.LOST
    facts = {"worker": "w:1", "heartbeat_at": "2026-03-01T11:58:59+00:00"}
    assert (run.reason, run.reason_details) == (Reason.LOST_HEARTBEAT, facts)


def test_a_run_that_was_heard_of_is_left_alone() -> None:
    running(59)
    assert look() == 0


def test_a_run_that_was_silent_while_nobody_could_be_heard_has_the_rest_of_its_lease() -> None:
    # The database was away for an hour; this run's last heartbeat is from just before.
    running(3600.5)
    watch = Watch(NOON - timedelta(seconds=3600))
    assert look(watch) == 0
    later = [NOON + timedelta(seconds=seconds) for seconds in range(1, 61)]
    assert [rescue.rescue(moment, watch) for moment in later] == [0] * 59 + [1]


def test_a_database_that_refuses_heartbeats_refuses_the_rescue_as_well(
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
    # Forty seconds of silence count, and then twenty more, but not the sixty in between.
    later = [NOON + timedelta(seconds=60 + second) for second in range(21)]
    assert [rescue.rescue(moment, watch) for moment in later] == [0] * 20 + [1]


def test_a_look_at_a_silent_run_changes_nothing() -> None:
    run = running(40)
    look()
    assert Run.objects.get().heartbeat_at == run.heartbeat_at


def test_only_running_runs_have_a_lease() -> None:
    running(1000, status=Status.SUCCEEDED)
    running(1000, status=Status.QUEUED)
    assert look() == 0


def test_a_run_is_given_up_once() -> None:
    running(61)
    assert [look(), look()] == [1, 0]


def test_a_job_that_bears_it_starts_again() -> None:
    run = running(61, job="restarting")
    look()
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("queued", 2)


def test_who_waits_for_a_lost_run_is_left_to_beats_next_tick(
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


def test_a_run_that_was_over_its_time_limit_is_timed_out() -> None:
    run = running(61, job="limited", started_at=NOON - timedelta(minutes=5))
    look()
    run.refresh_from_db()
    assert run.status == Status.TIMED_OUT


def test_a_stopping_worker_cancels_its_own_runs_alone() -> None:
    mine = running(worker="celery@me:1", worker_identity=IDENTITY)
    others = running(worker="celery@you:1"), running(worker="celery@me:1", worker_identity="also celery@me")
    main_process._cancel_all("celery@me")
    mine.refresh_from_db()
    assert (mine.reason, mine.reason_details) == (Reason.WORKER_SHUTDOWN, {"worker": "celery@me"})
    for other in others:
        other.refresh_from_db()
        assert other.cancel_requested_at is None
