"""The run of an ordinary Celery task ends as the task does, if a worker with this service executes it."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import current_app, signals
from celery.app.trace import build_tracer
from celery.worker import state
from django.db import OperationalError
from django.utils import timezone

from jobledger import clock
from jobledger.alerts import recording
from jobledger.models import ProcessKind, Reason, Run, ServiceProcess, Status, Why
from jobledger.runs import overlap
from jobledger.runs.elsewhere import looking
from jobledger.runs.identity import IDENTITY
from jobledger.runs.ordinary_outcomes import outcome_of_task
from jobledger.runs.processes import shared_process
from jobledger.runs.publishing import publisher
from jobledger.runs.service.pulse import pulse
from jobledger.runs.worker import main_process, ordinary_runs, orphans
from tests.unit.broker import Broker

pytestmark = pytest.mark.django_db

ADD = "tests.probes.tasks.add"
WORKER = f"celery@here:{os.getpid()}"


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The signals are connected, as in a child of a worker, which reads the queue."""
    queue = current_app.conf.task_default_queue
    ServiceProcess.objects.create(
        kind=ProcessKind.WORKER, name="celery@here", seen_at=timezone.now(), queues=[queue]
    )
    names = ("task_prerun", "task_success", "task_failure", "task_retry", "task_postrun", "task_revoked")
    connected_to = [pulse, *(getattr(signals, name) for name in names)]
    before = [list(signal.receivers) for signal in connected_to]
    ordinary_runs.connect()
    monkeypatch.setattr(ordinary_runs, "_main_pid", 0)
    monkeypatch.setattr(ordinary_runs, "_in_thread", lambda write, pk: write())
    current_app.loader.import_default_modules()
    yield
    for signal, receivers in zip(connected_to, before, strict=True):
        signal.receivers[:] = receivers


def published(broker: Broker, task: str, *args: Any, **values: Any) -> Run:
    """A run whose message was sent."""
    run = Run.objects.create(job=task, args=list(args), trigger="schedule", **values)
    publisher.publish([run])
    run.refresh_from_db()
    return run


def execute(broker: Broker) -> None:
    """Execute the last message as a worker's child would."""
    message = broker.messages[-1]
    task = current_app.tasks[message.name]
    trace = build_tracer(message.name, task, app=current_app)
    request = {**message.headers, "delivery_info": {}, "hostname": "celery@here"}
    trace(message.task_id, list(message.args), dict(message.kwargs), request)


def test_it_waits_for_a_worker_once_its_message_was_sent(broker: Broker) -> None:
    run = published(broker, ADD, 1, 2)
    assert (run.status, run.publish_count, run.finished_at) == ("queued", 1, None)


def test_it_succeeds_as_the_task_does(broker: Broker) -> None:
    run = published(broker, ADD, 1, 2)
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.worker, run.publish_after) == ("succeeded", WORKER, None)
    assert run.started_at is not None
    assert run.finished_at is not None


def test_its_message_is_never_sent_twice(broker: Broker) -> None:
    run = published(broker, ADD, 1, 2)
    assert run.publish_after is not None
    assert publisher.publish_due(run.publish_after) == 1
    assert len(broker.messages) == 1
    run.refresh_from_db()
    assert (run.status, run.publish_count) == ("queued", 2)


def test_it_needs_no_result_backend_although_its_message_leaves_that_to_the_task(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ServiceProcess.objects.all().delete()
    run = published(broker, ADD, 1, 2)
    assert (run.look_at is not None, broker.messages[-1].headers["ignore_result"]) == (True, None)
    stored = list[str]()
    monkeypatch.setattr(current_app.tasks[ADD], "track_started", False)
    monkeypatch.setattr(
        current_app.backend, "store_result", lambda task_id, *args, **more: stored.append(task_id)
    )
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.look_at, stored) == ("succeeded", None, [])


def test_if_nothing_is_heard_for_a_day_it_ends_as_sent(broker: Broker) -> None:
    now = timezone.now()
    run = published(broker, ADD, 1, 2, queued_at=now - timedelta(days=1))
    # Not before it has been sent for a day.
    Run.objects.update(sent_at=now - timedelta(days=1))
    assert run.publish_after is not None
    publisher.publish_due(run.publish_after)
    run.refresh_from_db()
    assert (run.status, len(broker.messages)) == ("sent", 1)
    assert Run.objects.get().publish_after is None


def test_a_task_of_another_service_ends_as_sent_at_once(broker: Broker, settings: Any) -> None:
    settings.JOBLEDGER = {**settings.JOBLEDGER, "SCHEDULABLE_TASKS": ["billing.*"]}
    assert published(broker, "billing.charge").status == "sent"


def test_it_fails_with_the_error_and_the_traceback(broker: Broker) -> None:
    run = published(broker, "tests.probes.tasks.raise_error", "no such thing")
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.reason, run.error) == ("failed", "exception", "LookupError: no such thing")
    assert run.traceback.endswith("LookupError: no such thing\n")


def test_secrets_among_its_arguments_are_masked_in_the_error(broker: Broker) -> None:
    run = Run.objects.create(
        job="tests.probes.tasks.raise_error", args=[{"password": "hunter2-long"}], trigger="schedule"
    )
    publisher.publish([run])
    execute(broker)
    run.refresh_from_db()
    assert "hunter2" not in f"{run.error} {run.traceback}"


def test_a_retry_is_another_attempt_of_the_same_run(broker: Broker) -> None:
    run = published(broker, "tests.probes.tasks.try_again", "not yet")
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.attempt, run.reason) == ("queued", 2, "retry")
    (first,) = run.attempts.all()
    assert (first.status, first.error) == ("failed", "LookupError: not yet")
    assert run.start_after is not None
    assert timedelta(seconds=50) < run.start_after - timezone.now() <= timedelta(seconds=60)
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.attempt, run.error) == ("failed", 2, "LookupError: not yet")
    assert [message.task_id for message in broker.messages] == [str(run.pk)] * 2


def test_the_message_of_a_retry_is_celerys(broker: Broker) -> None:
    run = published(broker, "tests.probes.tasks.try_again", "not yet")
    execute(broker)
    run.refresh_from_db()
    assert run.publish_after is not None
    publisher.publish_due(run.publish_after)
    assert len(broker.messages) == 2


def test_a_task_that_wants_no_outcome_ends_as_sent(broker: Broker) -> None:
    run = published(broker, "tests.probes.tasks.leave_open")
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.heartbeat_at) == ("sent", None)


def test_a_task_that_is_replaced_ends_as_the_other_does(broker: Broker) -> None:
    run = published(broker, "tests.probes.tasks.be_replaced")
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.publish_count) == ("queued", 1)
    assert broker.messages[-1].name == ADD
    execute(broker)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_message_that_is_delivered_again_while_it_runs_is_taken_over(broker: Broker) -> None:
    run = published(broker, ADD, 1, 2)
    Run.objects.update(status=Status.RUNNING, worker="celery@gone:1", heartbeat_at=timezone.now())
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.worker) == ("succeeded", WORKER)


@pytest.mark.parametrize("status", [Status.LOST, Status.CANCELLED, Status.SUCCEEDED])
def test_a_run_that_has_ended_is_left_alone(broker: Broker, status: Status) -> None:
    run = published(broker, ADD, 1, 2)
    Run.objects.update(status=status, worker="celery@gone:1")
    execute(broker)
    run.refresh_from_db()
    assert (run.status, run.worker) == (status, "celery@gone:1")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL)"), "lost", "lost_process"),
        (TimeLimitExceeded(5), "timed_out", "time_limit"),
        (SoftTimeLimitExceeded(), "timed_out", "time_limit"),
        (KeyError("x"), "failed", "exception"),
    ],
)
def test_the_main_process_tells_what_a_child_cannot(
    monkeypatch: pytest.MonkeyPatch, broker: Broker, error: Exception, status: str, reason: str
) -> None:
    run = published(broker, ADD, 1, 2)
    Run.objects.update(status=Status.RUNNING, worker=WORKER, heartbeat_at=timezone.now())
    monkeypatch.setattr(ordinary_runs, "_main_pid", os.getpid())
    signals.task_failure.send(sender=current_app.tasks[ADD], task_id=str(run.pk), exception=error)
    run.refresh_from_db()
    assert (run.status, run.reason, run.worker) == (status, reason, WORKER)


@pytest.mark.parametrize(("expired", "status"), [(True, "expired"), (False, "cancelled")])
def test_a_message_that_celery_discards_ends_its_run(broker: Broker, expired: bool, status: str) -> None:
    run = published(broker, ADD, 1, 2)
    context = type("Context", (), {"id": str(run.pk), "headers": broker.messages[-1].headers})()
    signals.task_revoked.send(sender=current_app.tasks[ADD], request=context, expired=expired)
    run.refresh_from_db()
    assert (run.status, bool(run.finished_at)) == (status, True)


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (Status.QUEUED, partial(ordinary_runs.discard, is_expired=True)),
        (Status.RUNNING, partial(ordinary_runs.ignore, is_replaced=False)),
    ],
    ids=["expired", "ignored"],
)
def test_an_end_that_nobody_could_be_told_of_is_not_recorded_yet(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, status: Status, end: Callable[[UUID], None]
) -> None:
    def is_down(*args: object) -> None:
        raise OperationalError

    run = published(broker, ADD, 1, 2)
    Run.objects.update(status=status)
    monkeypatch.setattr(recording, "runs_ended", is_down)
    with pytest.raises(OperationalError):
        end(run.pk)
    run.refresh_from_db()
    assert run.status == status


def test_one_that_is_killed_by_a_revocation_is_cancelled(broker: Broker) -> None:
    run = published(broker, ADD, 1, 2)
    Run.objects.update(status=Status.RUNNING, worker=WORKER, heartbeat_at=timezone.now())
    ordinary_runs.discard(run.pk, is_expired=False)
    run.refresh_from_db()
    assert (run.status, run.reason) == ("cancelled", "user")


def test_its_deadline_is_that_of_its_message(broker: Broker) -> None:
    until = datetime(2026, 3, 1, tzinfo=UTC)
    published(broker, ADD, 1, 2, start_before=until)
    assert broker.messages[-1].headers["expires"] == until.isoformat()


def test_messages_of_others_cost_no_query(broker: Broker, django_assert_num_queries: Any) -> None:
    current_app.send_task(ADD, args=[1, 2], ignore_result=True)
    with django_assert_num_queries(0):
        execute(broker)


def test_a_workers_shutdown_does_not_cancel_what_nothing_ends(broker: Broker) -> None:
    run = published(broker, ADD, 1, 2)
    Run.objects.update(status=Status.RUNNING, worker_identity=IDENTITY)
    main_process.cancel_all("celery@here")
    run.refresh_from_db()
    assert (run.cancel_requested_at, run.reason) == (None, "")


def test_one_in_a_thread_that_is_cancelled_goes_on_and_that_is_logged_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_process, "is_shared", lambda: True)
    killed: list[object] = []
    monkeypatch.setattr(orphans, "kill_child", killed.append)
    watch, pk = ordinary_runs.Watch(), uuid4()
    for _ in range(2):
        watch._end(pk, None)
    assert killed == []
    assert caplog.messages == [
        f"Run {pk} was cancelled, but is an ordinary task in a thread: it goes on until it returns"
    ]


def test_a_child_waits_for_the_database(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    run = published(broker, ADD, 1, 2)
    attempts, waited = iter([OperationalError("gone"), None]), list[float]()
    begin = ordinary_runs.begin

    def begin_later(*args: Any) -> None:
        if error := next(attempts):
            raise error
        begin(*args)

    monkeypatch.setattr(ordinary_runs, "begin", begin_later)
    monkeypatch.setattr("jobledger.runs.worker.ordinary_runs.time.sleep", waited.append)
    monkeypatch.setattr(ordinary_runs, "is_outage", lambda error: True)
    execute(broker)
    run.refresh_from_db()
    assert (run.status, len(waited)) == ("succeeded", 1)


def test_an_error_of_the_record_does_not_affect_the_task(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    published(broker, ADD, 1, 2)

    def fail(*args: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(ordinary_runs, "begin", fail)
    execute(broker)
    assert "could not be recorded" in caplog.text
    assert clock.now() is not None


class Request:
    """What the main process holds of a message that a child is executing."""

    hostname, worker_pid = "celery@here", 4711

    def __init__(self, run: Run, **headers: Any) -> None:
        self.id, self.name, self.request_dict = str(run.pk), run.job, {"jobledger_run": True, **headers}


def beat_until_looked(watch: ordinary_runs.Watch) -> None:
    watch.beat()
    if watch._thread is not None:
        watch._thread.join()


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The children that are killed; the thread's work is done in this one, which has the connection."""
    found: list[int] = []
    monkeypatch.setattr(orphans, "kill_child", found.append)

    class Now:
        def __init__(self, *, target: Callable[[], None], **kwargs: Any) -> None:
            self.start = target

        def is_alive(self) -> bool:
            return False

        def join(self) -> None:
            """It has ended."""

    monkeypatch.setattr("jobledger.runs.worker.ordinary_runs.threading.Thread", Now)
    monkeypatch.setattr(ordinary_runs, "write_between_forks", lambda write, within_seconds: write())
    monkeypatch.setattr(state, "active_requests", set())
    monkeypatch.setattr(state, "revoked", set())
    return found


def running(broker: Broker, **values: Any) -> Run:
    run = published(broker, ADD, 1, 2)
    begun = {"status": Status.RUNNING, "heartbeat_at": LONG_AGO, "worker_identity": IDENTITY, **values}
    Run.objects.filter(pk=run.pk).update(**begun)
    run.refresh_from_db()
    return run


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_the_child_of_a_cancelled_one_is_killed(broker: Broker, killed: list[int]) -> None:
    run = running(broker)
    state.active_requests.add(Request(run))
    watch = ordinary_runs.Watch()
    beat_until_looked(watch)
    watch.beat()
    assert killed == []
    overlap.request_cancel(run, Why.of(Reason.USER, user="anna"), timezone.now())
    watch.look([run.pk], looks_for_waiting=False)
    watch.beat()
    assert killed == [4711]
    ordinary_runs.end(run.pk, outcome_of_task(WorkerLostError("signal 9")), "")
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_details["user"]) == ("cancelled", "user", "anna")


def test_a_child_that_has_another_task_by_then_is_not_killed(broker: Broker, killed: list[int]) -> None:
    run = running(broker)
    overlap.request_cancel(run, Why.of(Reason.USER, user="anna"), timezone.now())
    watch = ordinary_runs.Watch()
    watch.look([run.pk], looks_for_waiting=False)
    watch.beat()
    assert killed == []


def test_the_leases_of_running_ones_are_renewed(broker: Broker, killed: list[int]) -> None:
    run, elsewhere = running(broker), running(broker, worker_identity="another worker's")
    for each in run, elsewhere:
        state.active_requests.add(Request(each))
    beat_until_looked(ordinary_runs.Watch())
    run.refresh_from_db()
    elsewhere.refresh_from_db()
    assert run.heartbeat_at is not None
    assert (run.heartbeat_at > LONG_AGO, elsewhere.heartbeat_at) == (True, LONG_AGO)


def test_the_message_of_one_that_was_cancelled_in_the_queue_is_discarded(
    broker: Broker, killed: list[int]
) -> None:
    run, job = published(broker, ADD, 1, 2), Run.objects.create(job="probe", trigger="schedule")
    # That it was sent may not be on record yet.
    unmarked = Run.objects.create(job=run.job, trigger="schedule")
    for each in run, job, unmarked:
        overlap.request_cancel(each, Why.of(Reason.USER, user="anna"), timezone.now())
    beat_until_looked(ordinary_runs.Watch())
    assert set(state.revoked) == {str(run.pk), str(unmarked.pk)}


def test_it_is_looked_for_by_an_index_and_only_for_a_day(broker: Broker, killed: list[int]) -> None:
    """However many runs were cancelled, each worker looks every few seconds."""
    run = published(broker, ADD, 1, 2)
    overlap.request_cancel(run, Why.of(Reason.USER, user="anna"), timezone.now())
    run.refresh_from_db()
    assert run.finished_at is not None
    assert run.look_at == run.finished_at + timedelta(days=1)
    Run.objects.update(look_at=timezone.now())
    assert looking.claim() == []
    beat_until_looked(ordinary_runs.Watch())
    assert not state.revoked


def test_messages_of_jobs_and_of_others_are_not_watched(broker: Broker, killed: list[int]) -> None:
    job, other = Run.objects.create(job="probe", trigger="schedule"), running(broker)
    message = Request(job)
    message.name = "probes.probe"
    foreign = Request(other)
    foreign.request_dict = {}
    assert [ordinary_runs._run_of_message(each) for each in (message, foreign)] == [None, None]
