"""While runs wait for a worker, the runs that occupy all worker processes are named."""

from datetime import timedelta
from typing import Any

import pytest

from jobledger.health import occupied
from jobledger.health.problem import Problem, ProblemKind
from jobledger.models import ProcessKind, Run, ServiceProcess, Status, Trigger
from jobledger.runs.service.queues import QueueUse
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def worker(capacity: int | None, identity: str = "me") -> ServiceProcess:
    seen = {"started_at": NOON - 60 * MINUTE, "seen_at": NOON}
    return ServiceProcess(
        kind=ProcessKind.WORKER, name=identity, identity=identity, capacity=capacity, **seen
    )


def running(minutes: int, job: str = "hanging", identity: str = "me") -> Run:
    started = {"status": Status.RUNNING, "started_at": NOON - minutes * MINUTE, "worker_identity": identity}
    return Run.objects.create(job=job, trigger=Trigger.SCHEDULE, queued_at=NOON, **started)


def problem_of(*workers: ServiceProcess, waiting: int = 1) -> Problem | None:
    """For runs whose messages were published ten minutes ago."""
    use = QueueUse(name="celery", waiting=waiting, published_at=NOON - 10 * MINUTE)
    return next(occupied.late_runs([use] if waiting else [], workers, NOON), None)


def test_the_oldest_of_the_runs_that_occupy_all_workers_are_named() -> None:
    oldest = [running(90, "import"), running(60, "report", "other"), running(30), running(25)]
    problem = problem_of(worker(3), worker(1, "other"))
    assert problem
    assert problem.text == (
        "1 run has been waiting for a free worker for more than 1 min. All 4 worker processes have been busy "
        "for 25 min; their oldest runs are import (for 1 h), report (for 1 h), hanging (for 30 min)."
    )
    assert problem.advice.startswith("If these runs hang, cancel them, and give their jobs a time limit.")
    assert problem.runs == tuple((run.pk, run.job) for run in oldest[:3])


def test_a_single_process_has_a_single_run() -> None:
    run = running(90)
    problem = problem_of(worker(1), waiting=2)
    assert problem
    assert problem.text.endswith(
        "The only worker process has been busy for 1 h; its run is hanging (for 1 h)."
    )
    assert problem.runs == ((run.pk, "hanging"),)


def test_occupied_workers_are_no_problem_while_nothing_waits() -> None:
    running(90)
    assert problem_of(worker(1), waiting=0) is None


@pytest.mark.parametrize(
    ("capacity", "minutes", "identity"),
    [(3, (90, 60), "me"), (2, (90, 0), "me"), (None, (90, 60), "me"), (2, (90, 60), "gone"), (0, (), "me")],
    ids=[
        "a free process",
        "a run that has only just started",
        "an unknown capacity",
        "another worker's runs",
        "no process",
    ],
)
def test_workers_that_are_not_all_occupied_are_only_busy(
    capacity: int | None, minutes: tuple[int, ...], identity: str
) -> None:
    for each in minutes:
        running(each, identity=identity)
    problem = problem_of(worker(capacity))
    assert problem
    assert (problem.runs, problem.advice[:21]) == ((), "The workers are busy.")
    assert problem.text == "1 run has been waiting for a free worker for more than 1 min."


def reporting(
    *, busy: int | None, idle_minutes: int | None, started: int = 60, seen: int = 0, **values: Any
) -> ServiceProcess:
    """A worker with two processes."""
    found = worker(2)
    found.busy, found.started_at, found.seen_at = busy, NOON - started * MINUTE, NOON - seen * MINUTE
    found.message_at = None if idle_minutes is None else NOON - idle_minutes * MINUTE
    for name, value in values.items():
        setattr(found, name, value)
    return found


def test_a_free_worker_that_takes_no_message_while_runs_wait_is_stalled() -> None:
    busy = reporting(busy=2, idle_minutes=30, name="busy")
    problem = problem_of(reporting(busy=1, idle_minutes=15), busy, waiting=2)
    assert problem
    assert (problem.kind, problem.is_mild) == (ProblemKind.STALLED_WORKERS, False)
    assert problem.text == (
        "2 runs have been waiting in the queue “celery”, although its worker me is free. It took its last "
        "message 15 min ago."
    )


def test_a_worker_that_has_never_taken_a_message_may_be_stalled() -> None:
    problem = problem_of(reporting(busy=0, idle_minutes=None))
    assert problem
    assert problem.text.endswith("me is free. It has taken none yet.")


def test_workers_are_not_stalled_while_nothing_waits() -> None:
    assert problem_of(reporting(busy=0, idle_minutes=600), waiting=0) is None


@pytest.mark.parametrize(
    "workers",
    [
        [reporting(busy=2, idle_minutes=600)],
        [reporting(busy=0, idle_minutes=9)],
        [reporting(busy=0, idle_minutes=600), reporting(busy=2, idle_minutes=0)],
        [reporting(busy=0, idle_minutes=None, started=9)],
        [reporting(busy=0, idle_minutes=600, seen=10)],
        [reporting(busy=None, idle_minutes=None)],
    ],
    ids=[
        "no free process",
        "a message since",
        "another one's message since",
        "started since",
        "not seen since",
        "an earlier version",
    ],
)
def test_workers_that_may_still_take_the_message_are_only_busy(workers: list[ServiceProcess]) -> None:
    problem = problem_of(*workers)
    assert problem
    assert problem.kind is ProblemKind.BUSY_WORKERS


def test_messages_from_another_queue_do_not_show_that_one_is_read() -> None:
    stalled = reporting(busy=0, idle_minutes=30, queues=["celery"])
    other = reporting(busy=0, idle_minutes=0, queues=["reports"])
    uses = [QueueUse(name=name, waiting=1, published_at=NOON - 10 * MINUTE) for name in ("celery", "reports")]
    found = list(occupied.late_runs(uses, [stalled, other], NOON))
    assert [problem.kind for problem in found] == [ProblemKind.STALLED_WORKERS, ProblemKind.BUSY_WORKERS]
