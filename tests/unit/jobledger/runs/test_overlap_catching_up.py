"""Runs of a schedule that starts each missed run wait for each other, whatever the concurrency policy."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, Misfire
from jobledger.models import Reason, Run, SchedulePolicy, Status, Trigger
from jobledger.runs import attempts, overlap, reasons
from jobledger.runs.execution import claims
from jobledger.runs.outcome import Outcome
from jobledger.runs.publishing import intervals, publisher
from jobledger.schedules.due import ledger
from tests.unit.jobledger.schedules.builders import NOON, every, wound_back

pytestmark = pytest.mark.django_db

SECOND, PERIOD = timedelta(seconds=1), timedelta(minutes=2)
LATE = NOON + 10 * PERIOD


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(LATE, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    runs: list[Run] = []
    monkeypatch.setattr(publisher, "try_to_publish", runs.extend)
    return runs


def a_schedule(name: str = "each", *, misfire: Misfire = Misfire.ALL, **policy: Any) -> PeriodicTask:
    """Due every two minutes, from noon on."""
    made = every(120, name, handled_until=LATE - SECOND)
    SchedulePolicy.objects.filter(schedule=made).update(misfire=misfire, **policy)
    return made


def caught_up(count: int, made: PeriodicTask | None = None) -> list[Run]:
    """The runs of this many slots that passed while beat was not running, oldest first."""
    made = made or a_schedule()
    wound_back(made, LATE - count * PERIOD - SECOND)
    ledger.record_due(LATE - SECOND)
    return list(Run.objects.filter(schedule=made, status=Status.QUEUED).order_by("scheduled_for"))


def on_time(made: PeriodicTask) -> Run:
    ledger.record_due(LATE)
    return newest_of(made)


def newest_of(made: PeriodicTask) -> Run:
    return Run.objects.filter(schedule=made, scheduled_for__isnull=False).latest("scheduled_for")


def claimed(run: Run) -> str:
    """The run's state once a worker has got its message."""
    claims.claim(run.pk, worker="worker", job=registry.find(run.job))
    run.refresh_from_db()
    return f"{run.status} {run.reason}".strip()


def ended(run: Run, capture: Any) -> None:
    run.refresh_from_db()
    with capture(execute=True):
        assert attempts.end(run, Outcome(status=Status.SUCCEEDED, exit_code=0))


def foreign(trigger: Trigger = Trigger.ADMIN, **values: Any) -> Run:
    """A run of the same job that no slot of the schedule has started."""
    return Run.objects.create(
        job="probe",
        trigger=trigger,
        status=Status.RUNNING,
        concurrency_key="probe",
        started_at=NOON,
        heartbeat_at=LATE,
        **values,
    )


@pytest.mark.parametrize("concurrency", ["", Concurrency.FORBID, Concurrency.QUEUE, Concurrency.REPLACE])
def test_those_that_are_caught_up_run_one_after_the_other_oldest_first(
    concurrency: str, published: list[Run], django_capture_on_commit_callbacks: Any
) -> None:
    runs = caught_up(4, a_schedule(concurrency=concurrency))
    # A worker takes their messages in the order in which they come; the oldest runs meanwhile.
    assert [claimed(run) for run in runs] == ["running", *["queued overlap"] * 3]
    for running, waiting in pairwise(runs):
        ended(running, django_capture_on_commit_callbacks)
        assert published == [waiting]
        assert claimed(published.pop()) == "running"
    ended(runs[-1], django_capture_on_commit_callbacks)
    assert set(Run.objects.values_list("status", flat=True)) == {Status.SUCCEEDED}


def test_the_next_run_that_is_due_on_time_waits_for_them(django_capture_on_commit_callbacks: Any) -> None:
    made = a_schedule()
    first, second = caught_up(2, made)
    assert (claimed(first), claimed(second)) == ("running", "queued overlap")
    newest = on_time(made)
    assert claimed(newest) == "queued overlap"
    ended(first, django_capture_on_commit_callbacks)
    assert claimed(second) == "running"
    ended(second, django_capture_on_commit_callbacks)
    assert claimed(newest) == "running"


def test_none_overtakes_an_older_one_that_is_about_to_start(
    published: list[Run], django_capture_on_commit_callbacks: Any
) -> None:
    """Its own message may come before that of the one whose turn it is."""
    first, second, third = caught_up(3)
    assert (claimed(first), claimed(second)) == ("running", "queued overlap")
    ended(first, django_capture_on_commit_callbacks)
    assert published == [second]
    assert claimed(third) == "queued overlap"
    assert claimed(second) == "running"
    ended(second, django_capture_on_commit_callbacks)
    assert published[-1] == third
    assert claimed(third) == "running"


def test_one_that_waits_for_an_older_one_is_published_if_that_has_just_ended(
    published: list[Run], monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    first, second, third = caught_up(3)
    assert (claimed(first), claimed(second)) == ("running", "queued overlap")
    ended(first, django_capture_on_commit_callbacks)
    waiting_for = overlap._waiting_for

    def end_meanwhile(other: Run, *args: Any) -> dict[str, Any]:
        Run.objects.filter(pk=other.pk).update(status=Status.SUCCEEDED)
        return waiting_for(other, *args)

    monkeypatch.setattr(overlap, "_waiting_for", end_meanwhile)
    with django_capture_on_commit_callbacks(execute=True):
        assert claimed(third) == "queued"
    assert published[-1] == third
    assert claimed(third) == "running"


def test_however_many_wait_few_of_their_messages_are_sent_again() -> None:
    """They are queued at the same time. Only the next one may have to start soon without being woken."""
    runs, interval = caught_up(5), intervals.publish_interval(1)
    assert [claimed(run) for run in runs] == ["running", *["queued overlap"] * 4]
    assert [run.publish_after for run in runs[1:]] == [LATE + interval * number for number in (1, 2, 3, 4)]
    Run.objects.filter(pk=runs[1].pk).update(routing={"queue": "left"})
    assert claimed(runs[2]) == "queued overlap"
    assert runs[2].publish_after == LATE + interval


def test_none_waits_for_an_older_one_that_no_worker_has_taken() -> None:
    """Its queue may have no worker."""
    _, second = caught_up(2)
    assert claimed(second) == "running"


def test_none_waits_for_an_older_one_in_another_queue(django_capture_on_commit_callbacks: Any) -> None:
    first, second, third = caught_up(3)
    assert (claimed(first), claimed(second)) == ("running", "queued overlap")
    ended(first, django_capture_on_commit_callbacks)
    Run.objects.filter(pk=second.pk).update(routing={"queue": "left"})
    assert claimed(third) == "running"


def test_a_retry_waits_for_the_run_that_has_started_meanwhile() -> None:
    made = a_schedule()
    (first,) = caught_up(1, made)
    Run.objects.filter(pk=first.pk).update(attempt=2, start_after=LATE - SECOND, reason=Reason.RETRY)
    newest = on_time(made)
    assert (claimed(newest), claimed(first)) == ("running", "queued overlap")


@pytest.mark.parametrize("misfire", [Misfire.ONCE, Misfire.SKIP])
def test_where_not_each_missed_run_is_run_they_are_skipped(misfire: Misfire) -> None:
    made = a_schedule(misfire=misfire)
    Run.objects.filter(pk=on_time(made).pk).update(
        status=Status.RUNNING, concurrency_key="probe", publish_after=None
    )
    with time_machine.travel(LATE + PERIOD, tick=False):
        ledger.record_due(LATE + PERIOD)
        assert claimed(newest_of(made)) == "skipped overlap"


# --- While another run holds the job


@pytest.mark.parametrize("values", [{}, {"trigger": Trigger.SCHEDULE}, {"trigger": Trigger.CLI}])
def test_a_run_that_is_on_time_is_skipped_because_of_a_run_that_is_not_its_schedules(
    values: dict[str, Any],
) -> None:
    foreign(**values)
    assert claimed(on_time(a_schedule())) == "skipped overlap"


def test_a_run_that_is_on_time_is_skipped_because_of_one_that_a_user_has_started_for_the_schedule() -> None:
    made = a_schedule()
    foreign(schedule=made)
    assert claimed(on_time(made)) == "skipped overlap"


def test_runs_that_are_caught_up_wait_for_any_other_run() -> None:
    runs = caught_up(2)
    foreign()
    assert [claimed(run) for run in runs] == ["queued overlap"] * 2


def test_a_run_that_has_waited_goes_on_waiting(django_capture_on_commit_callbacks: Any) -> None:
    made = a_schedule()
    (first,), newest = caught_up(1, made), on_time(made)
    assert (claimed(first), claimed(newest)) == ("running", "queued overlap")
    ended(first, django_capture_on_commit_callbacks)
    foreign()
    assert claimed(newest) == "queued overlap"


def test_a_run_joins_those_that_are_waiting_already() -> None:
    made = a_schedule()
    (first,) = caught_up(1, made)
    foreign()
    assert claimed(first) == "queued overlap"
    assert claimed(on_time(made)) == "queued overlap"


def test_runs_for_which_no_worker_was_there_wait_for_any_other_run() -> None:
    made = a_schedule()
    older = on_time(made)
    with time_machine.travel(LATE + PERIOD, tick=False):
        ledger.record_due(LATE + PERIOD)
        newer = newest_of(made)
        foreign()
        assert [claimed(run) for run in (older, newer)] == ["queued overlap"] * 2


def test_no_more_of_them_wait_than_are_caught_up() -> None:
    made = a_schedule(catch_up_limit=2)
    foreign()
    for run in caught_up(2, made):
        claimed(run)
    for number in range(5):
        at = LATE + number * PERIOD
        with time_machine.travel(at, tick=False):
            ledger.record_due(at)
            claimed(newest_of(made))
    waiting = Run.objects.filter(schedule=made, status=Status.QUEUED)
    slots = waiting.order_by("scheduled_for").values_list("scheduled_for", flat=True)
    assert list(slots) == [LATE + 2 * PERIOD, LATE + 3 * PERIOD, LATE + 4 * PERIOD]
    assert Run.objects.filter(status=Status.SKIPPED).count() == 0


def test_a_run_that_finds_many_of_them_waiting_says_how_many() -> None:
    made = a_schedule(concurrency=Concurrency.QUEUE)
    runs = caught_up(4, made)
    for run in runs:
        claimed(run)
    other = Run.objects.create(job="queueing", trigger=Trigger.ADMIN, queued_at=LATE)
    queue = overlap.Guard(key="probe", concurrency=Concurrency.QUEUE, max_queued=1)
    assert overlap.start(other, queue, LATE)
    assert reasons.short(other, LATE).endswith("and 3 runs were already waiting; the limit is 1")


def test_under_replace_a_run_that_is_on_time_cancels_the_one_before() -> None:
    made = a_schedule(concurrency=Concurrency.REPLACE)
    (first,) = caught_up(1, made)
    assert claimed(first) == "running"
    assert claimed(on_time(made)) == "queued overlap"
    first.refresh_from_db()
    assert (first.cancel_requested_at, first.reason) == (LATE, Reason.SUPERSEDED)
