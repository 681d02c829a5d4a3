"""A child that cannot notice that its run is over is killed, and no other."""

from datetime import timedelta
from typing import Any, cast

import pytest
from celery.worker import state
from django.db import OperationalError
from pytest_django import Settings

from jobledger.models import Run, Status, Trigger
from jobledger.runs.identity import IDENTITY
from jobledger.runs.worker import abandoned, orphans
from jobledger.runs.worker.abandoned import LOOK_SECONDS, Watch
from jobledger.runs.worker.main_process import JobRequest
from tests.unit.builders import override
from tests.unit.jobledger.runs.worker.builders import received

pytestmark = pytest.mark.django_db

LEASE_SECONDS = 60.0
PATIENCE_SECONDS = 24.0
"""The job's grace period is two seconds, a heartbeat two more."""


class Clock:
    """In place of ``time.monotonic``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Clock:
    # A test's transaction cannot be seen by other threads.
    monkeypatch.setattr(abandoned, "_in_thread", lambda work: work())
    override(settings, LEASE_SECONDS=LEASE_SECONDS, HEARTBEAT_SECONDS=2.0)
    return Clock()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> set[JobRequest]:
    """The messages that this worker's children are executing."""
    active = set[JobRequest]()
    monkeypatch.setattr(state, "active_requests", active)
    return active


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch, requests: set[JobRequest]) -> list[object]:
    """The children that are killed, which ends their messages."""
    killed = list[object]()

    def kill(pid: object) -> None:
        killed.append(pid)
        requests.difference_update([each for each in requests if each.worker_pid == pid])

    monkeypatch.setattr(orphans, "kill_child", kill)
    return killed


def executing(requests: set[JobRequest], clock: Clock, pid: int = 7, **values: Any) -> Run:
    """A run whose message a child has just begun to execute."""
    run = Run.objects.create(
        job="lasting",
        trigger=Trigger.SCHEDULE,
        **{"status": Status.RUNNING, "worker": f"celery@here:{pid}", "worker_identity": IDENTITY, **values},
    )
    request = received(str(run.pk), "probes.lasting")
    request.on_accepted(pid=cast("Any", pid), time_accepted=0.0)
    request.accepted_at = clock.now
    requests.add(request)
    return run


def beat_for(seconds: float, watch: Watch, clock: Clock) -> None:
    for _ in range(int(seconds)):
        clock.now += 1
        watch.beat()


def test_a_child_whose_run_was_lost_is_killed_once_it_has_had_time_to_notice(
    requests: set[JobRequest], killed: list[object], clock: Clock
) -> None:
    run, watch = executing(requests, clock), Watch(clock)
    beat_for(LEASE_SECONDS + 1, watch, clock)
    Run.objects.filter(pk=run.pk).update(status=Status.LOST)
    beat_for(PATIENCE_SECONDS, watch, clock)
    assert killed == []
    beat_for(LOOK_SECONDS + 1, watch, clock)
    assert killed == [7]


@pytest.mark.parametrize("elsewhere", [{"worker": "celery@there:7"}, {"worker_identity": "another"}])
def test_a_child_whose_run_has_started_again_elsewhere_is_killed(
    elsewhere: dict[str, Any],
    requests: set[JobRequest],
    killed: list[object],
    clock: Clock,
) -> None:
    executing(requests, clock, **elsewhere)
    beat_for(LEASE_SECONDS + PATIENCE_SECONDS + LOOK_SECONDS, Watch(clock), clock)
    assert killed == [7]


def test_a_child_that_executes_its_run_is_left_alone_however_long_it_takes(
    requests: set[JobRequest], killed: list[object], clock: Clock
) -> None:
    executing(requests, clock)
    executing(requests, clock, 8, status=Status.LOST)
    beat_for(LEASE_SECONDS + 10 * PATIENCE_SECONDS, Watch(clock), clock)
    assert killed == [8]


def test_a_child_that_returns_in_time_is_left_alone(
    requests: set[JobRequest], killed: list[object], clock: Clock
) -> None:
    watch = Watch(clock)
    executing(requests, clock, status=Status.LOST)
    beat_for(LEASE_SECONDS + PATIENCE_SECONDS - 1, watch, clock)
    requests.clear()
    # The same child, with its next run.
    executing(requests, clock)
    beat_for(LEASE_SECONDS + PATIENCE_SECONDS, watch, clock)
    assert killed == []


def test_a_child_that_could_claim_its_run_only_later_is_left_alone(
    requests: set[JobRequest], killed: list[object], clock: Clock
) -> None:
    """The database did not answer for longer than a lease, and the child still waited when it was back."""
    run, watch = executing(requests, clock, status=Status.QUEUED, worker="", worker_identity=""), Watch(clock)
    beat_for(LEASE_SECONDS + 1, watch, clock)
    claimed = {"status": Status.RUNNING, "worker": "celery@here:7", "worker_identity": IDENTITY}
    Run.objects.filter(pk=run.pk).update(**claimed)
    beat_for(10 * PATIENCE_SECONDS, watch, clock)
    assert killed == []


def test_the_ledger_is_read_only_while_a_run_is_older_than_a_lease_and_not_at_every_beat(
    requests: set[JobRequest], killed: list[object], clock: Clock, django_assert_num_queries: Any
) -> None:
    watch = Watch(clock)
    executing(requests, clock)
    with django_assert_num_queries(0):
        beat_for(LEASE_SECONDS, watch, clock)
    with django_assert_num_queries(3):
        beat_for(3 * LOOK_SECONDS, watch, clock)


def test_a_run_whose_schedule_gives_it_longer_to_clean_up_has_that_time(
    requests: set[JobRequest], killed: list[object], clock: Clock
) -> None:
    watch = Watch(clock)
    executing(requests, clock, status=Status.LOST, time_limit_grace=timedelta(seconds=62))
    beat_for(LEASE_SECONDS + PATIENCE_SECONDS + 50, watch, clock)
    assert killed == []
    beat_for(LOOK_SECONDS + 20, watch, clock)
    assert killed == [7]


def test_without_a_database_no_child_is_killed(
    requests: set[JobRequest],
    killed: list[object],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unavailable(request: JobRequest) -> None:
        raise OperationalError("no database")

    executing(requests, clock, status=Status.LOST)
    monkeypatch.setattr(abandoned, "_run_of", unavailable)
    beat_for(LEASE_SECONDS + 10 * PATIENCE_SECONDS, Watch(clock), clock)
    assert killed == []
