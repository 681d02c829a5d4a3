"""A heartbeat renews the lease, saves output and progress, and notices when the run is to end."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from pytest_django import Settings

from jobledger.models import Reason, Run, RunOutput, Status, Stream, Trigger, Why
from jobledger.runs.lease import heartbeat
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt, JobTimedOut, LeaseLost
from jobledger.runs.limits import Limits
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.processes.resources import Meter, Usage
from tests.unit.builders import override
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

BY_ANN = Why.of(Reason.USER, user="ann")
TOO_LONG = Why.of(Reason.TIME_LIMIT, limit_seconds=2.0)
LONG_AGO = datetime(2026, 3, 2, 12, tzinfo=UTC)


class RecordingInterrupter(Interrupter):
    """Records interrupts instead of raising them."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupts: list[JobInterrupt] = []

    def interrupt(self, interrupt: JobInterrupt) -> None:
        self.interrupts.append(interrupt)


class Beating:
    """A running run with a heartbeat that beats on request."""

    def __init__(self, meter: Meter | None = None) -> None:
        self.run = Run.objects.create(
            job="probe", trigger=Trigger.CELERY, status=Status.RUNNING, heartbeat_at=LONG_AGO
        )
        self.recorder = OutputRecorder(1000)
        self.interrupter = RecordingInterrupter()
        self.heartbeat = Heartbeat(
            self.run,
            OutputLog(self.run, self.recorder),
            self.interrupter,
            ProcessTree(self.run.pk, is_nested=False),
            Limits(time_limit=None, grace=timedelta(hours=1)),
            meter or Meter(),
        )

    def beat(self) -> Run:
        self.heartbeat._renew_at = 0.0
        self.heartbeat.beat()
        self.run.refresh_from_db()
        return self.run

    def set(self, **values: Any) -> None:
        Run.objects.filter(pk=self.run.pk).update(**values)


def test_a_beat_renews_the_lease() -> None:
    heartbeat_at = Beating().beat().heartbeat_at
    assert heartbeat_at is not None
    assert heartbeat_at > LONG_AGO


@pytest.mark.skipif(connection.vendor != "postgresql", reason="of PostgreSQL")
def test_a_beat_adds_no_entry_to_an_index() -> None:
    beating = Beating()
    beating.heartbeat.progress.done, beating.heartbeat.progress.total = 1, 2
    before = heap_only_updates()
    beating.beat()
    assert heap_only_updates() == before + 1


def heap_only_updates() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_get_xact_tuples_hot_updated('jobledger_run'::regclass)")
        (found,) = cursor.fetchone()
    return int(found)


def test_output_does_not_wait_for_the_lease_to_be_renewed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(settings, HEARTBEAT_SECONDS=3600, LEASE_SECONDS=3 * 3600)
    monkeypatch.setattr(heartbeat, "OUTPUT_SECONDS", 0.01)
    done: list[str] = []
    beating = Beating()
    # In the heartbeat's thread, which cannot see this test's transaction.
    monkeypatch.setattr(beating.heartbeat._log, "save_new", lambda: done.append("output"))
    monkeypatch.setattr(beating.heartbeat, "_renew", lambda: done.append("lease"))
    beating.heartbeat.start()
    wait_until(lambda: len(done) >= 4, what="it beats")
    beating.heartbeat.stop()
    assert done[:4] == ["output", "lease", "output", "output"]
    assert done.count("lease") == 1


def test_what_a_run_uses_is_noted_before_its_first_beat(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(settings, HEARTBEAT_SECONDS=3600, LEASE_SECONDS=3 * 3600)
    monkeypatch.setattr(heartbeat, "OUTPUT_SECONDS", 3600)
    noted: list[Usage] = []
    beating = Beating(Meter(noted.append))
    beating.heartbeat.start()
    # At its start, and after 0.05 and 0.15 seconds.
    wait_until(lambda: len(noted) >= 3, what="it has looked")
    beating.heartbeat.stop()
    assert all(each.peak_memory_bytes for each in noted)


Ticking = tuple[Beating, Callable[[], float | None]]


@pytest.fixture
def ticking(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Ticking:
    """A heartbeat, and what another thread is to call until its own begins."""
    override(settings, HEARTBEAT_SECONDS=3600, LEASE_SECONDS=3 * 3600)
    ticks: list[Callable[[], float | None]] = []

    def tick(function: Callable[[], float | None]) -> bool:
        ticks.append(function)
        return True

    beating = Beating()
    beating.heartbeat.start(tick=tick)
    return beating, ticks[0]


def test_its_thread_starts_when_the_first_beat_is_near(
    ticking: Ticking,
) -> None:
    beating, tick = ticking
    pauses = []
    while (pause := tick()) is not None:
        assert not beating.heartbeat.threads
        pauses.append(pause)
    assert pauses == [0.05, 0.1, 0.2, 0.4]
    (thread,) = beating.heartbeat.threads
    assert thread.is_alive()
    beating.heartbeat.stop()
    assert not thread.is_alive()


def test_a_thread_that_cannot_start_is_tried_again(ticking: Ticking, monkeypatch: pytest.MonkeyPatch) -> None:
    beating, tick = ticking

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert [tick() for _ in range(6)][-2:] == [1.0, 1.0]
    assert tick() is None
    beating.heartbeat.stop()


def test_one_that_has_not_started_is_not_awaited(
    ticking: Ticking,
) -> None:
    beating, _ = ticking
    beating.heartbeat.stop()
    assert not beating.heartbeat.threads


def test_output_is_saved_once_by_the_next_beat() -> None:
    beating = Beating()
    for text in "one\n", "two\n":
        beating.recorder.write(Stream.STDOUT, text)
        beating.beat()
    beating.beat()
    pieces = RunOutput.objects.filter(run=beating.run).in_order().values_list("number", "text")
    assert list(pieces) == [(0, "one\n"), (1, "two\n")]


def test_progress_is_saved_by_the_next_beat() -> None:
    beating = Beating()
    beating.heartbeat.progress.done, beating.heartbeat.progress.total = 3, 10
    run = beating.beat()
    assert (run.progress_done, run.progress_total) == (3, 10)


def test_what_the_run_has_used_is_saved_by_the_next_beat() -> None:
    run = Beating().beat()
    assert run.peak_memory_bytes
    assert run.cpu_seconds is not None


@pytest.mark.parametrize(
    ("total", "stored"),
    [
        (2**63 - 1, 2**63 - 1),
        (10**30, 2**63 - 1),
        (-(10**30), -(2**63)),
        (2.5, 2),
        (float("inf"), None),
        (float("nan"), None),
        ("many", None),
    ],
)
def test_progress_that_the_database_cannot_store_does_not_stop_the_heartbeat(total: Any, stored: Any) -> None:
    beating = Beating()
    beating.heartbeat.progress.done, beating.heartbeat.progress.total = 10**30, total
    run = beating.beat()
    assert (run.progress_done, run.progress_total) == (2**63 - 1, stored)
    assert run.heartbeat_at is not None
    beating.heartbeat.save_progress()


def test_the_final_progress_is_saved_at_the_end() -> None:
    beating = Beating()
    beating.heartbeat.progress.done = 7
    beating.heartbeat.save_progress()
    beating.run.refresh_from_db()
    assert beating.run.progress_done == 7


def test_a_cancel_interrupts_the_job_once_and_names_the_user() -> None:
    beating = Beating()
    beating.set(cancel_requested_at=LONG_AGO, **BY_ANN.columns)
    beating.beat()
    beating.beat()
    (interrupt,) = beating.interrupter.interrupts
    assert isinstance(interrupt, JobCancelled)
    assert (interrupt.why, str(interrupt)) == (BY_ANN, "Cancelled by ann.")


def test_the_lease_of_a_cancelled_job_is_renewed_while_it_cleans_up() -> None:
    beating = Beating()
    beating.set(cancel_requested_at=LONG_AGO, **BY_ANN.columns)
    beating.beat()
    heartbeat_at = beating.beat().heartbeat_at
    assert heartbeat_at is not None
    assert heartbeat_at > LONG_AGO


@pytest.mark.parametrize("values", [{"status": Status.LOST}, {"attempt": 2}])
def test_a_process_that_has_lost_its_lease_interrupts_its_job(values: dict[str, Any]) -> None:
    beating = Beating()
    beating.set(**values)
    run = beating.beat()
    assert isinstance(beating.interrupter.interrupts[0], LeaseLost)
    assert run.heartbeat_at == LONG_AGO


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_row_was_deleted_is_interrupted_even_though_its_output_cannot_be_saved() -> None:
    beating = Beating()
    beating.recorder.write(Stream.STDOUT, "still working\n")
    Run.objects.all().delete()
    with pytest.raises(IntegrityError):
        beating.heartbeat.beat()
    assert isinstance(beating.interrupter.interrupts[0], LeaseLost)


# The connection is closed, and with it any transaction.
@pytest.mark.django_db(transaction=True)
def test_the_end_and_the_output_are_saved_before_the_process_is_killed() -> None:
    beating = Beating()
    beating.recorder.write(Stream.STDERR, "stuck\n")
    beating.heartbeat.recording.kill(JobTimedOut(TOO_LONG, run_id=beating.run.pk))
    run = beating.run
    run.refresh_from_db()
    assert (run.status, run.exit_code) == ("timed_out", 124)
    assert (run.reason, run.reason_details) == ("time_limit", {"limit_seconds": 2.0, "killed_by": "itself"})
    assert (run.exit_signal, bool(run.peak_memory_bytes)) == ("SIGKILL", True)
    assert RunOutput.objects.get(run=run).text == "stuck\n"


@pytest.mark.django_db(transaction=True)
def test_the_tail_of_long_output_is_saved_before_the_process_is_killed() -> None:
    beating = Beating()
    beating.recorder.write(Stream.STDOUT, "x" * 2000 + "stuck here\n")
    beating.heartbeat.recording.kill(JobTimedOut(TOO_LONG, run_id=beating.run.pk))
    pieces = RunOutput.objects.filter(run=beating.run).in_order().values_list("text", flat=True)
    assert "".join(pieces).endswith("xx" + "stuck here\n")


def test_a_job_that_goes_on_after_its_grace_period_says_so_in_its_output_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    beating = Beating()
    beating.heartbeat.recording.overdue(JobTimedOut(TOO_LONG, run_id=beating.run.pk))
    beating.beat()
    (line,) = RunOutput.objects.all()
    text = (
        "This run is to end as timed out, but its thread has not ended after 1 h. A thread cannot be killed: "
        "the run goes on until its thread ends."
    )
    assert (line.stream, line.text.startswith(text)) == (Stream.STDERR, True)
    assert f"Run {beating.run.pk} of probe: {text}" in caplog.text


def test_in_a_shared_process_one_thread_beats_for_all_runs(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(shared_process, "is_shared", lambda: True)
    monkeypatch.setattr(Heartbeat, "beat", lambda self: beats.append((self, threading.current_thread())))
    beats: list[tuple[Heartbeat, threading.Thread]] = []
    override(settings, HEARTBEAT_SECONDS=0.01)
    runs = [Beating().heartbeat for _ in range(3)]
    for each in runs:
        each.start()
    wait_until(lambda: {found for found, _ in beats} == set(runs), what="all have beaten")
    for each in runs:
        each.stop()
    assert len({thread for _, thread in beats}) == 1
    assert heartbeat.HEARTBEATS.members == []
