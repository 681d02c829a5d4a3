"""Each part of the service is healthy, or there is a problem that says what is wrong and what to do."""

import gc
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from amqp.exceptions import AccessRefused, NotAllowed
from celery import Celery, current_app
from celery.app.routes import Router, prepare
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu.transport.pyamqp import Transport

from jobledger import formats, health
from jobledger.celery import configure
from jobledger.health import Health
from jobledger.health.problem import PartName, Problem, ProblemKind
from jobledger.models import NextSlot, ProcessKind, Reason, Run, ServiceProcess, Status, Trigger
from jobledger.runs import overlap
from jobledger.runs.publishing import delivery
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.tls import CA, tls_in_front_of
from tests.unit.builders import NOON, override

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
read_broker = health.broker_problems


@pytest.fixture(autouse=True)
def a_broker_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "broker_problems", lambda: iter(()))


def signed(kind: ProcessKind, seconds_ago: int = 5, name: str = "here", **values: Any) -> None:
    at = NOON - timedelta(seconds=seconds_ago)
    given = {"version": code_version(), "queues": ["celery"], **values}
    ServiceProcess.objects.create(kind=kind, name=name, started_at=at, seen_at=at, **given)


def beat_and_worker() -> None:
    signed(ProcessKind.BEAT)
    signed(ProcessKind.WORKER, name="celery@here")


def waiting(minutes: int = 5, **values: Any) -> Run:
    """A run that was published, and that nobody has claimed for so long."""
    given = {"job": "probe", "trigger": Trigger.CLI, "publish_count": 1, "publish_after": NOON}
    return Run.objects.create(**{**given, "queued_at": NOON - minutes * MINUTE, **values})


def schedule(name: str, **values: Any) -> PeriodicTask:
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    made: PeriodicTask = PeriodicTask.objects.create(
        name=name, interval=hourly, **{"task": "probes.probe", **values}
    )
    NextSlot.objects.filter(pk=made.pk).update(due_at=NOON + MINUTE, handled_until=NOON - MINUTE)
    return made


def kinds(found: Health) -> list[ProblemKind]:
    return [problem.kind for problem in found.problems]


def the_problem(kind: ProblemKind) -> Problem:
    """The one problem there is."""
    (problem,) = health.read(NOON).problems
    assert problem.kind is kind
    return problem


def part(name: PartName) -> tuple[bool, str]:
    found = next(part for part in health.read(NOON).parts if part.name is name)
    return found.is_healthy, found.text


def test_a_service_whose_processes_were_just_seen_is_healthy() -> None:
    beat_and_worker()
    signed(ProcessKind.WORKER, name="celery@there")
    schedule("hourly")
    found = health.read(NOON)
    assert found.problems == []
    assert all(part.is_healthy for part in found.parts)
    assert part(PartName.WORKERS) == (True, "2 running (celery@here, celery@there)")
    assert part(PartName.SCHEDULES) == (True, "1 enabled")


def test_of_many_processes_only_some_are_named() -> None:
    signed(ProcessKind.BEAT)
    for number in range(6):
        signed(ProcessKind.WORKER, name=f"w{number}")
    assert part(PartName.WORKERS) == (True, "6 running (w0, w1, w2, w3, …)")


@pytest.mark.parametrize(
    ("kind", "other", "name"),
    [
        (ProblemKind.NO_BEAT, ProcessKind.WORKER, ProcessKind.BEAT),
        (ProblemKind.NO_WORKER, ProcessKind.BEAT, ProcessKind.WORKER),
    ],
)
def test_a_missing_process_says_since_when(kind: ProblemKind, other: ProcessKind, name: ProcessKind) -> None:
    signed(other)
    assert "none has been seen yet" in the_problem(kind).text
    signed(name, 90, "h:1")
    assert "h:1 was last seen 1 min ago" in the_problem(kind).text
    assert part(the_problem(kind).part)[0] is False


@pytest.mark.parametrize("kind", [ProcessKind.BEAT, ProcessKind.WORKER])
def test_a_process_that_was_stopped_says_so_at_once(kind: ProcessKind) -> None:
    beat_and_worker()
    ServiceProcess.objects.filter(kind=kind).update(ended_at=NOON - MINUTE / 6, message_at=NOON - MINUTE)
    found = health.read(NOON)
    (problem,) = found.problems
    assert problem.kind in (ProblemKind.NO_BEAT, ProblemKind.NO_WORKER)
    assert "was stopped 10 s ago." in problem.text
    assert found.last_message == NOON - MINUTE


def test_an_overdue_schedule_shows_that_beat_is_late_even_if_it_seems_alive() -> None:
    beat_and_worker()
    due = schedule("hourly")
    NextSlot.objects.filter(pk=due.pk).update(due_at=NOON - timedelta(seconds=5))
    assert health.read(NOON).problems == []
    NextSlot.objects.filter(pk=due.pk).update(due_at=NOON - 2 * MINUTE)
    assert (
        the_problem(ProblemKind.LATE_BEAT).text == "Beat is running, but late; a run has been due for 2 min."
    )
    assert part(PartName.BEAT) == (False, "1 running (here), late")


def test_runs_that_wait_for_a_free_worker_are_counted() -> None:
    beat_and_worker()
    for minutes in (0, 5, 6):
        waiting(minutes)
    problem = the_problem(ProblemKind.BUSY_WORKERS)
    assert problem.text == "2 runs have been waiting for a free worker for more than 1 min."
    assert problem.is_mild
    assert part(PartName.WORKERS) == (False, "1 running (celery@here), 2 runs waiting")
    assert [part.name for part in health.read(NOON).parts if not (part.is_healthy or part.is_mild)] == []


def test_a_run_that_has_superseded_others_has_waited_as_long_as_they_did() -> None:
    """Otherwise, a schedule that is due every minute would never seem to wait."""
    beat_and_worker()
    waiting(0, waiting_since=NOON - 5 * MINUTE)
    text = "1 run has been waiting for a free worker for more than 1 min."
    assert the_problem(ProblemKind.BUSY_WORKERS).text == text


def test_of_the_workers_only_those_that_read_the_queue_are_asked_for_their_runs() -> None:
    signed(ProcessKind.BEAT)
    signed(ProcessKind.WORKER, name="a", identity="me", capacity=1)
    signed(ProcessKind.WORKER, name="b", identity="other", capacity=1, queues=["reports"])
    started = {"status": Status.RUNNING, "started_at": NOON - 90 * MINUTE, "worker_identity": "me"}
    Run.objects.create(job="hanging", trigger=Trigger.SCHEDULE, queued_at=NOON, **started)
    waiting()
    assert "The only worker process has been busy for 1 h" in the_problem(ProblemKind.BUSY_WORKERS).text


def test_runs_that_wait_for_another_run_or_their_next_attempt_do_not_wait_for_a_worker() -> None:
    beat_and_worker()
    waiting(concurrency_key="probe", reason=Reason.OVERLAP)
    waiting(publish_count=0)
    # Another attempt, whose message has only just been sent: the run itself is old.
    waiting(publish_count=1, publish_after=NOON + MINUTE)
    assert health.read(NOON).problems == []


def test_a_run_that_another_one_no_longer_blocks_waits_for_a_worker() -> None:
    beat_and_worker()
    blocked = waiting(concurrency_key="probe", reason=Reason.OVERLAP)
    overlap.wake("probe")
    assert health.read(NOON).problems == []
    Run.objects.filter(pk=blocked.pk).update(publish_count=1, publish_after=NOON)
    text = "1 run has been waiting for a free worker for more than 1 min."
    assert the_problem(ProblemKind.BUSY_WORKERS).text == text


def test_a_run_whose_message_a_free_worker_has_not_taken_shows_that_it_is_stalled() -> None:
    signed(ProcessKind.BEAT)
    signed(ProcessKind.WORKER, capacity=4, busy=0, message_at=NOON - 9 * MINUTE)
    ServiceProcess.objects.update(started_at=NOON - 60 * MINUTE)
    # It was published a minute ago, and again just now.
    waiting(publish_count=2, publish_after=NOON + 2 * MINUTE)
    assert kinds(health.read(NOON)) == [ProblemKind.STALLED_WORKERS]
    ServiceProcess.objects.filter(kind=ProcessKind.WORKER).update(message_at=NOON - MINUTE / 2)
    assert kinds(health.read(NOON)) == [ProblemKind.BUSY_WORKERS]


def test_an_unread_queue_with_waiting_runs_is_a_problem_immediately() -> None:
    signed(ProcessKind.BEAT)
    signed(ProcessKind.WORKER, queues=["reports"])
    for _ in range(3):
        waiting(0)
    problem = the_problem(ProblemKind.UNREAD_QUEUE)
    assert problem.text == "No running worker reads the queue “celery”: 3 queued runs wait in it."
    assert problem.advice == "Start a worker with -Q celery."
    assert part(PartName.WORKERS) == (False, "1 running (here), no worker reads celery")


def test_the_name_of_a_queue_is_quoted_for_the_shell() -> None:
    beat_and_worker()
    schedule("monthly", queue="a;b")
    assert "Start a worker with -Q 'a;b', or" in the_problem(ProblemKind.UNREAD_QUEUE).advice


def test_an_unread_queue_of_enabled_schedules_is_a_problem_before_they_are_due() -> None:
    beat_and_worker()
    only = schedule("monthly", queue="reports")
    schedule("off", queue="nobody reads it", enabled=False)
    problem = the_problem(ProblemKind.UNREAD_QUEUE)
    assert problem.text.endswith("“reports”: 1 enabled schedule uses it.")
    assert (problem.queue, problem.schedule) == ("reports", (only.pk, "monthly"))
    assert (
        problem.advice == "Start a worker with -Q reports, or change the queue of the schedules that use it."
    )

    schedule("yearly", queue="reports")
    waiting(schedule=only, routing={"queue": "reports"})
    problem = the_problem(ProblemKind.UNREAD_QUEUE)
    assert problem.text.endswith(": 1 queued run waits in it and 2 enabled schedules use it.")
    assert problem.advice.endswith("that use it. Runs that are already queued stay in it.")
    assert problem.schedule is None


def test_a_queue_that_cannot_be_used_needs_no_worker() -> None:
    beat_and_worker()
    broken = schedule("odd")
    PeriodicTask.objects.filter(pk=broken.pk).update(queue="_kombu.binding.celery")
    waiting(0, schedule=broken, routing={"queue": "_kombu.binding.celery"})
    assert ProblemKind.UNREAD_QUEUE not in kinds(health.read(NOON))


def test_a_queued_run_waits_in_its_queue_even_if_its_schedule_has_been_deleted() -> None:
    beat_and_worker()
    waiting(routing={"queue": "reports"})
    problem = the_problem(ProblemKind.UNREAD_QUEUE)
    assert problem.text == "No running worker reads the queue “reports”: 1 queued run waits in it."
    assert problem.advice == "Start a worker with -Q reports."


def test_runs_routed_by_exchange_or_routing_key_do_not_wait_for_a_free_worker() -> None:
    beat_and_worker()
    waiting(routing={"exchange": "x"})
    waiting(routing={"routing_key": "x"})
    waiting(0, routing={"routing_key": "x"})
    problem = the_problem(ProblemKind.UNTAKEN_RUNS)
    assert problem.text == ("2 queued runs are routed by exchange or routing key; no worker has taken them.")
    assert problem.is_mild
    assert part(PartName.WORKERS) == (False, "1 running (celery@here), 2 queued runs not taken")


def test_a_queue_that_any_worker_consumes_is_fine() -> None:
    beat_and_worker()
    signed(ProcessKind.WORKER, name="celery@reports", queues=["reports"])
    schedule("monthly", queue="reports")
    assert health.read(NOON).problems == []
    ServiceProcess.objects.filter(name="celery@reports").update(seen_at=NOON - 2 * MINUTE)
    assert kinds(health.read(NOON)) == [ProblemKind.UNREAD_QUEUE]


def test_a_queue_from_task_routes_is_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    beat_and_worker()
    waiting()
    routes = prepare([{"probes.*": "slow"}])
    monkeypatch.setattr(current_app.amqp, "router", Router(routes, current_app.amqp.queues, app=current_app))
    assert "“slow”" in the_problem(ProblemKind.UNREAD_QUEUE).text


@pytest.mark.parametrize(
    "values", [{"task": "elsewhere.task", "queue": "theirs"}, {"exchange": "x"}, {"routing_key": "x"}]
)
def test_queues_of_another_service_and_exchanges_are_not_known_here(
    settings: Any, values: dict[str, str]
) -> None:
    override(settings, SCHEDULABLE_TASKS=["elsewhere.*"])
    beat_and_worker()
    made = schedule("external", **values)
    routing = delivery.routing_of(made)
    waiting(job=values.get("task", "probe"), schedule=made, routing=routing, publish_count=0)
    assert health.read(NOON).problems == []


def test_without_any_worker_its_absence_is_the_only_problem() -> None:
    signed(ProcessKind.BEAT)
    schedule("monthly", queue="reports")
    waiting()
    assert kinds(health.read(NOON)) == [ProblemKind.NO_WORKER]


def test_processes_with_different_code_are_named_with_their_versions() -> None:
    beat_and_worker()
    ServiceProcess.objects.filter(kind=ProcessKind.WORKER).update(version="0.0.9+old")
    problem = the_problem(ProblemKind.OTHER_CODE)
    assert problem.text == (
        f"A running worker runs different code than this web server ({code_version()}): "
        "celery@here (0.0.9+old)."
    )
    assert part(PartName.WORKERS) == (False, "1 running (celery@here), different code")
    assert part(PartName.BEAT)[0]
    ServiceProcess.objects.filter(kind=ProcessKind.WORKER).update(version="", queues=[])
    schedule("monthly", queue="reports")
    assert "celery@here (an earlier version)" in the_problem(ProblemKind.OTHER_CODE).text


def test_a_paused_service_says_since_when_until_when_and_by_whom() -> None:
    beat_and_worker()
    pausing.pause(
        None, Terms(until=NOON + 2 * MINUTE, reason="database moves", username="ann"), now=NOON - 10 * MINUTE
    )
    problem = the_problem(ProblemKind.PAUSED)
    assert problem.text == (
        "The whole service is paused by ann until 2026-03-01 12:02:00 UTC (in 2 min): database moves"
    )
    assert "since 2026-03-01 11:50:00 UTC (10 min ago)" in problem.advice
    assert part(PartName.SCHEDULES) == (False, "0 enabled, paused")


def test_one_broken_schedule_is_named_and_several_are_counted() -> None:
    beat_and_worker()
    first = schedule("first")
    NextSlot.objects.filter(pk=first.pk).update(due_at=None, broken="its task is gone")
    problem = the_problem(ProblemKind.BROKEN_SCHEDULES)
    assert problem.text == "The schedule “first” is broken and starts nothing: its task is gone."
    assert problem.schedule == (first.pk, "first")
    second = schedule("second")
    NextSlot.objects.filter(pk=second.pk).update(due_at=None, broken="its task is gone")
    problem = the_problem(ProblemKind.BROKEN_SCHEDULES)
    assert (problem.text, problem.schedule) == ("2 schedules are broken and start nothing.", None)
    assert part(PartName.SCHEDULES) == (False, "2 enabled, 2 broken")


def test_a_redis_outage_is_a_problem_that_explains_its_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beat_and_worker()
    monkeypatch.setattr(health, "broker_problems", read_broker)
    problem = the_problem(ProblemKind.NO_BROKER)
    assert problem.text.startswith("Redis is not available: ")
    assert problem.text.endswith(".")
    assert not problem.text.endswith("..")
    assert "due runs are recorded" in problem.advice
    assert part(PartName.BROKER) == (False, "not available")


def test_a_redis_whose_certificate_is_not_trusted_is_a_problem_with_another_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    beat_and_worker()
    monkeypatch.setattr(health, "broker_problems", read_broker)
    with tls_in_front_of(tmp_path / "nothing.sock", ca=CA()) as port:
        app = Celery("mine", set_as_current=False, broker=f"rediss://localhost:{port}/0")
        configure(app)
        monkeypatch.setattr(health, "current_app", app)
        problem = the_problem(ProblemKind.NO_BROKER)
        # kombu leaves sockets to the garbage collector when a handshake fails.
        with warnings.catch_warnings(action="ignore", category=ResourceWarning):
            gc.collect()
    assert "certificate verify failed" in problem.text
    assert problem.advice.startswith("Correct the host name in the broker's URL, or trust the CA")


@pytest.mark.parametrize("error", [AccessRefused, NotAllowed], ids=["password", "virtual host"])
def test_a_rabbitmq_that_refuses_the_login_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(transport: Transport) -> None:
        raise error("it is refused")

    beat_and_worker()
    monkeypatch.setattr(Transport, "establish_connection", refuse)
    monkeypatch.setattr(health, "broker_problems", read_broker)
    app = Celery("mine", set_as_current=False, broker="amqp://jobs:wrong@localhost//")
    monkeypatch.setattr(health, "current_app", app)
    problem = the_problem(ProblemKind.NO_BROKER)
    assert problem.text.startswith("RabbitMQ is not available: ")
    assert "it is refused" in problem.text


def test_the_number_of_queries_does_not_grow(django_assert_max_num_queries: Any) -> None:
    beat_and_worker()
    for number in range(20):
        made = schedule(f"number {number}", queue=f"queue-{number}")
        waiting(schedule=made, routing={"queue": made.queue}, status=Status.QUEUED)
    with django_assert_max_num_queries(13):
        assert len(health.read(NOON).problems) == 20


# What a worker was told to by remote control.


@pytest.mark.parametrize(
    "values", [{"capacity": 0}, {"capacity": 4, "queues": []}], ids=["no process", "no queue"]
)
def test_a_worker_that_can_take_nothing_is_a_problem_and_does_not_count(values: dict[str, Any]) -> None:
    beat_and_worker()
    ServiceProcess.objects.filter(kind=ProcessKind.WORKER).update(capacity=3)
    signed(ProcessKind.WORKER, name="celery@idle", **values)
    text = "A worker does not accept jobs, because of a remote control command: celery@idle."
    assert the_problem(ProblemKind.IDLE_WORKERS).text == text
    assert part(PartName.WORKERS) == (
        False,
        "2 running (celery@here, celery@idle), 3 jobs at a time, 1 not accepting jobs",
    )


def test_a_queue_that_only_such_workers_would_read_is_read_by_none() -> None:
    signed(ProcessKind.BEAT)
    signed(ProcessKind.WORKER, name="celery@idle", capacity=4, queues=[])
    signed(ProcessKind.WORKER, name="celery@small", capacity=0)
    schedule("mine")
    assert kinds(health.read(NOON)) == [ProblemKind.IDLE_WORKERS, ProblemKind.UNREAD_QUEUE]


def test_a_process_whose_clock_is_wrong_is_named_with_how_far() -> None:
    signed(ProcessKind.BEAT, name="vm:1", clock_offset=timedelta(seconds=-130))
    signed(ProcessKind.WORKER, name="celery@here", clock_offset=timedelta(seconds=5))
    problem = the_problem(ProblemKind.CLOCK_OFFSET)
    assert problem.text == "Clocks differ from the database's: beat vm:1 is 2 min 10 s behind."
    assert part(PartName.DATABASE)[0] is False


@pytest.mark.parametrize(("seconds", "expected"), [(5, []), (6, ["6 s ahead"]), (-6, ["6 s behind"])])
def test_the_web_server_compares_its_own_clock_with_the_databases(seconds: int, expected: list[str]) -> None:
    beat_and_worker()
    found = health.read(NOON, server_time=NOON + timedelta(seconds=seconds))
    texts = [f"Clocks differ from the database's: this web server is {each}." for each in expected]
    assert [problem.text for problem in found.problems] == texts


def test_after_the_clock_was_set_back_it_says_until_when_nothing_is_due() -> None:
    beat_and_worker()
    hourly = schedule("hourly")
    NextSlot.objects.filter(pk=hourly.pk).update(handled_until=NOON + 55 * MINUTE, due_at=NOON + 60 * MINUTE)
    problem = the_problem(ProblemKind.CLOCK_SET_BACK)
    assert problem.text.startswith("The database's clock was set back: some schedules start nothing until ")
    assert problem.text.endswith(f"{formats.exact(NOON + 55 * MINUTE)} (in 55 min).")
