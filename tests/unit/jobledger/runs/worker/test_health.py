"""Each part of the service says whether it is well, and if not, since when or why."""

from datetime import datetime, timedelta

import pytest

from jobledger.models import ProcessKind, Run, ServiceProcess, Status, Trigger
from jobledger.runs.worker import health
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db


def signed(kind: ProcessKind, seconds_ago: int, name: str = "here") -> None:
    at = NOON - timedelta(seconds=seconds_ago)
    ServiceProcess.objects.create(kind=kind, name=name, started_at=at, seen_at=at)


def part(name: str, earliest_due: datetime | None = None) -> health.Part:
    return next(part for part in health.parts(NOON, earliest_due) if part.name == name)


def test_processes_that_were_just_seen_are_well() -> None:
    signed(ProcessKind.BEAT, 5)
    signed(ProcessKind.WORKER, 5, "celery@a")
    signed(ProcessKind.WORKER, 5, "celery@b")
    assert part("beat").is_healthy
    assert part("workers").text == "2 at work (celery@a, celery@b)"


@pytest.mark.parametrize(("kind", "name"), [(ProcessKind.BEAT, "beat"), (ProcessKind.WORKER, "workers")])
def test_a_process_that_is_missing_says_since_when(kind: ProcessKind, name: str) -> None:
    assert part(name).text == "none has been seen: is it started?"
    signed(kind, 90)
    assert (part(name).is_healthy, part(name).text) == (False, "last seen 90 s ago")


def test_a_slot_that_nobody_takes_shows_whatever_beat_says() -> None:
    signed(ProcessKind.BEAT, 5)
    beat = part("beat", NOON - timedelta(minutes=2))
    assert (beat.is_healthy, beat.text) == (False, "a slot has been due for 120 s and nobody took it")
    assert part("beat", NOON - timedelta(seconds=5)).is_healthy


def test_runs_that_wait_for_a_worker_are_counted() -> None:
    signed(ProcessKind.WORKER, 5)
    for minutes in (0, 5, 6):
        waiting(minutes)
    assert part("workers").text == "1 at work (here); 2 runs wait for a free one"


def test_runs_that_wait_for_another_run_do_not_wait_for_a_worker() -> None:
    signed(ProcessKind.WORKER, 5)
    waiting(5, concurrency_key="probe")
    assert (part("workers").is_healthy, part("workers").text) == (True, "1 at work (here)")


def waiting(minutes: int, **values: str) -> None:
    """A run that was published, and that nobody has claimed for so long."""
    Run.objects.create(
        job="probe",
        trigger=Trigger.CLI,
        status=Status.QUEUED,
        queued_at=NOON - timedelta(minutes=minutes),
        publish_count=1,
        publish_after=NOON,
        **values,
    )


def test_a_redis_that_is_not_there_is_said_with_what_it_means() -> None:
    redis = part("Redis")
    assert not redis.is_healthy
    assert "Slots are recorded all the same" in redis.text
