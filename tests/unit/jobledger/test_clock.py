"""Times that processes compare use the database's clock, whatever the process's own clock says."""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from jobledger import clock
from jobledger.models import Pause, Reason, Run, RunAttempt, ServiceProcess, Status, Trigger, Why
from jobledger.runs import attempts, dispatch, lasting_connections, overlap
from jobledger.runs.execution import calls, claims
from jobledger.runs.identity import IDENTITY
from jobledger.runs.lease import rescue
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog
from jobledger.runs.lease.interrupts import Interrupter
from jobledger.runs.limits import Limits
from jobledger.runs.outcome import Outcome, outcome_of
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.processes.resources import Meter
from jobledger.runs.publishing import intervals, publisher
from jobledger.runs.worker.losses import Loss
from jobledger.runs.worker.main_process import end_run_of
from jobledger.schedules.due import ledger
from jobledger.schedules.scheduler import Scheduler
from tests.unit.builders import NOON
from tests.unit.conftest import DATABASE_CLOCK, DATABASE_CLOCK_IN_STATEMENT
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LOST = Outcome(status=Status.LOST, why=Why.of(Reason.LOST_PROCESS), exit_code=None)


@pytest.fixture(params=[-HOUR, HOUR], ids=["slow", "fast"])
def skewed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is noon for the database; this process's clock is an hour slow or fast."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    with time_machine.travel(NOON + request.param, tick=False):
        yield


def made(status: Status, **values: Any) -> Run:
    defaults = {"job": "restarting", "trigger": Trigger.SCHEDULE, "status": status}
    return Run.objects.create(**{**defaults, **values})


def fresh(run: Run) -> Run:
    run.refresh_from_db()
    return run


def test_the_clock_is_the_databases_and_with_sqlite_the_processs_own() -> None:
    with time_machine.travel(NOON):
        assert (timezone.now() - NOON) < MINUTE
        assert (DATABASE_CLOCK() - NOON < MINUTE) is (connection.vendor == "sqlite")


def test_a_statement_may_contain_it() -> None:
    with time_machine.travel(NOON):
        run = Run.objects.create(job="probe", trigger=Trigger.CLI)
        Run.objects.update(finished_at=DATABASE_CLOCK_IN_STATEMENT())
        finished_at = fresh(run).finished_at
    assert finished_at is not None
    assert (finished_at - NOON < MINUTE) is (connection.vendor == "sqlite")


def test_a_claims_lease_uses_it(skewed: None) -> None:
    run = claims.claim(made(Status.QUEUED).pk, worker="w")
    assert run is not None
    assert (run.started_at, run.heartbeat_at) == (NOON, NOON)


@pytest.mark.parametrize(
    ("values", "starts"),
    [
        ({"start_after": NOON + MINUTE}, False),
        ({"start_after": NOON - MINUTE}, True),
        ({"start_before": NOON + MINUTE}, True),
        ({"start_before": NOON - MINUTE}, False),
    ],
)
def test_it_decides_whether_a_run_is_too_early_or_too_late(
    skewed: None, values: dict[str, datetime], starts: bool
) -> None:
    assert (claims.claim(made(Status.QUEUED, **values).pk, worker="w") is not None) is starts


def test_a_run_from_the_command_line_starts_at_its_time(skewed: None) -> None:
    run = dispatch.begin(dispatch.RunRequest(job="probe", trigger=Trigger.CLI), worker="w")
    assert (run.queued_at, run.heartbeat_at) == (NOON, NOON)


def test_a_run_is_queued_at_its_time(skewed: None) -> None:
    request = dispatch.RunRequest(job="probe", trigger=Trigger.ADMIN)
    assert dispatch.enqueue(request).publish_after == NOON + intervals.GRACE_PERIOD
    assert dispatch.receive("an ad-hoc call", lambda: request).queued_at == NOON


@pytest.mark.parametrize(
    ("outcome", "least", "most"),
    [(outcome_of(RuntimeError("boom")), 0.9, 1.1), (LOST, 0.0, 0.0)],
)
def test_a_retry_waits_for_its_time(skewed: None, outcome: Outcome, least: float, most: float) -> None:
    run = made(Status.RUNNING, started_at=NOON)
    attempts.end(run, outcome)
    start_after = fresh(run).start_after
    assert start_after is not None
    assert least <= (start_after - NOON).total_seconds() <= most
    assert RunAttempt.objects.get().finished_at == NOON


def test_a_waiting_run_is_woken_at_its_time(skewed: None) -> None:
    run = made(Status.QUEUED, concurrency_key="restarting")
    overlap.wake("restarting", at_once=False)
    assert fresh(run).publish_after == NOON


def test_it_decides_when_a_run_is_published_again(skewed: None, broker: Any) -> None:
    run = made(Status.QUEUED, job="probe")
    publisher.publish([run])
    assert fresh(run).publish_after == NOON + intervals.publish_interval(1)


@pytest.mark.parametrize(
    ("after", "noticed_ago", "status"), [(6, 0, "lost"), (8, 0, "timed_out"), (68, 62, "lost")]
)
def test_it_decides_whether_a_dead_child_had_exceeded_its_time_limit(
    after: int, noticed_ago: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made(
        Status.RUNNING,
        job="limited",
        started_at=NOON,
        worker="celery@here:7",
        worker_identity=IDENTITY,
    )
    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(seconds=after))
    noticed_at = time.monotonic() - noticed_ago
    end_run_of(Loss(task_id=str(run.pk), child="celery@here:7", error="It died.", noticed_at=noticed_at))
    assert fresh(run).status == status


def test_a_heartbeat_uses_it() -> None:
    run = made(Status.RUNNING, heartbeat_at=NOON)
    log, limits = OutputLog(run, OutputRecorder(100)), Limits(time_limit=None, grace=HOUR)
    real = datetime.now().astimezone()
    for beat in Heartbeat.beat, Heartbeat.renew_lease:
        Run.objects.update(heartbeat_at=NOON)
        with time_machine.travel(real + 1000 * HOUR):
            tree = ProcessTree(run.pk, is_nested=False)
            beat(Heartbeat(run, log, Interrupter(), tree, limits, Meter()))
        heartbeat_at = fresh(run).heartbeat_at
        assert heartbeat_at is not None
        assert abs(heartbeat_at - real) < HOUR


def test_a_pause_begins_and_ends_at_its_times(skewed: None) -> None:
    call_command("jobledger", "pause", "--for", "1h")
    pause = Pause.objects.get()
    assert (pause.since, pause.until) == (NOON, NOON + HOUR)
    call_command("jobledger", "resume")
    pause.refresh_from_db()
    assert pause.until == NOON


def test_a_run_is_cancelled_at_its_time(skewed: None) -> None:
    queued, running = made(Status.QUEUED), made(Status.RUNNING, heartbeat_at=NOON)
    for run in queued, running:
        call_command("jobledger", "cancel", str(run.pk))
    assert (fresh(queued).finished_at, fresh(running).cancel_requested_at) == (NOON, NOON)


def test_a_command_does_not_take_a_running_job_for_silent(
    skewed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would watch it for a lease, and end it."""
    made(Status.RUNNING, job="probe", concurrency_key="probe", heartbeat_at=NOON)

    def watch(vigil: object) -> None:
        pytest.fail("it takes the run for silent")

    monkeypatch.setattr(calls._Vigil, "keep", watch)
    with pytest.raises(CommandError, match=r"^Skipped: run"):
        call_command("probe")


def test_a_tick_of_beat_uses_only_it(skewed: None, monkeypatch: pytest.MonkeyPatch, broker: Any) -> None:
    seen: list[datetime] = []

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(ledger if name != "rescue" else rescue, name)

        def called(now: datetime, *args: Any) -> Any:
            seen.append(now)
            return original(now, *args)

        return called

    # It would take a clock that jumps for the end of a connection's maximum age.
    monkeypatch.setattr(lasting_connections, "close_lost", lambda: None)
    for name in "record_due", "expire":
        monkeypatch.setattr(ledger, name, noted(name))
    monkeypatch.setattr(rescue, "rescue", noted("rescue"))
    silent = made(Status.RUNNING, job="lasting", heartbeat_at=NOON - timedelta(seconds=20))
    made(Status.QUEUED, start_before=NOON)
    hourly(handled_until=NOON - MINUTE)
    Scheduler(current_app).tick()
    assert seen == [NOON] * 3
    assert fresh(silent).status == "running"
    assert ServiceProcess.objects.get().seen_at == NOON
