"""While runs wait for a worker, the runs that occupy all worker processes are named."""

from datetime import timedelta

import pytest

from jobledger.health import occupied
from jobledger.health.problem import Problem, ProblemKind
from jobledger.models import ProcessKind, Run, ServiceProcess, Status, Trigger
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def worker(capacity: int | None, identity: str = "me") -> ServiceProcess:
    return ServiceProcess(kind=ProcessKind.WORKER, identity=identity, capacity=capacity)


def running(minutes: int, job: str = "hanging", identity: str = "me") -> Run:
    started = {"status": Status.RUNNING, "started_at": NOON - minutes * MINUTE, "worker_identity": identity}
    return Run.objects.create(job=job, trigger=Trigger.SCHEDULE, queued_at=NOON, **started)


def problem_of(*workers: ServiceProcess, waiting: int = 1) -> Problem | None:
    return next(occupied.late_runs(waiting, workers, NOON), None)


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


def reporting(*, busy: int | None, idle_minutes: int | None, minutes_old: int = 60) -> ServiceProcess:
    """A worker with two processes that has just reported."""
    found = worker(2)
    found.busy, found.seen_at, found.started_at = busy, NOON, NOON - minutes_old * MINUTE
    found.message_at = None if idle_minutes is None else NOON - idle_minutes * MINUTE
    return found


def test_free_workers_that_take_no_messages_while_runs_wait_are_stalled() -> None:
    problem = problem_of(reporting(busy=1, idle_minutes=5), reporting(busy=2, idle_minutes=9), waiting=2)
    assert problem
    assert (problem.kind, problem.is_mild) == (ProblemKind.STALLED_WORKERS, False)
    assert problem.text == (
        "2 runs have been waiting although workers are free. The last message was taken 5 min ago."
    )


def test_a_worker_that_has_never_taken_a_message_is_stalled_too() -> None:
    problem = problem_of(reporting(busy=0, idle_minutes=None))
    assert problem
    assert problem.text == "1 run has been waiting although workers are free. No message was taken yet."


def test_workers_are_not_stalled_while_nothing_waits() -> None:
    assert problem_of(reporting(busy=0, idle_minutes=600), waiting=0) is None


@pytest.mark.parametrize(
    "workers",
    [
        [reporting(busy=2, idle_minutes=600)],
        [reporting(busy=0, idle_minutes=0)],
        [reporting(busy=0, idle_minutes=600), reporting(busy=2, idle_minutes=0)],
        [reporting(busy=0, idle_minutes=None, minutes_old=0)],
        [reporting(busy=None, idle_minutes=None)],
    ],
    ids=["no free process", "a message now", "another one's message", "just started", "an earlier version"],
)
def test_workers_that_may_still_take_messages_are_only_busy(workers: list[ServiceProcess]) -> None:
    problem = problem_of(*workers)
    assert problem
    assert problem.kind is ProblemKind.BUSY_WORKERS
