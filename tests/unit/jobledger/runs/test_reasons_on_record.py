"""Every reason is recorded by the code, in the documented states and with the documented details."""

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from billiard.exceptions import WorkerLostError
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.jobs.declaration import Concurrency, Misfire, PausedSlots
from jobledger.models import Pause, Reason, Run, SchedulePolicy, Status, Trigger, Why
from jobledger.runs import attempts, overlap, reasons
from jobledger.runs.elsewhere import awaiting, looking
from jobledger.runs.elsewhere.awaiting import MAX_SILENCE
from jobledger.runs.elsewhere.backend import Result, Undecodable
from jobledger.runs.execution import abrupt_ends, runner
from jobledger.runs.identity import IDENTITY
from jobledger.runs.lease import rescue
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog
from jobledger.runs.lease.interrupts import Interrupter, JobInterrupt, JobTimedOut
from jobledger.runs.lease.memory_limit import MemoryLimitExceeded
from jobledger.runs.lease.watch import Watch
from jobledger.runs.limits import Limits
from jobledger.runs.outcome import SUCCESS, SignalExit, outcome_of
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.overlap import Guard
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.processes.resources import Meter
from jobledger.runs.publishing import publisher
from jobledger.runs.worker import losses, main_process
from jobledger.runs.worker.losses import Loss
from jobledger.schedules.due import ledger
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by

pytestmark = pytest.mark.django_db

DOCS = Path(__file__).parents[4] / "docs" / "reference" / "states.md"
_ROW = re.compile(r"^\| `(\w+)` \| ([\w, ]+) \| [^|]+ \| ([^|]*)\|$", re.MULTILINE)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
CHILD = "celery@here:7"
BY_ANN = Why.of(Reason.USER, user="ann", trigger=Trigger.ADMIN)
SUPERSEDED = Why.of(Reason.SUPERSEDED, user="ann", trigger=Trigger.CLI)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """Stop the clock at noon."""
    with time_machine.travel(NOON, tick=False):
        yield


def documented() -> dict[tuple[str, str], set[str]]:
    """The documented details, by status and reason."""
    return {
        (status, reason): set(re.findall(r"`(\w+)`", facts))
        for reason, statuses, facts in _ROW.findall(DOCS.read_text())
        for status in statuses.split(", ")
    }


class RecordingInterrupter(Interrupter):
    """Keeps the interrupt instead of raising it."""

    interrupt_given: JobInterrupt | None = None

    def interrupt(self, interrupt: JobInterrupt) -> None:
        self.interrupt_given = interrupt


def made(**values: Any) -> Run:
    defaults = {"job": "probe", "trigger": Trigger.CELERY, "worker": CHILD, "worker_identity": IDENTITY}
    return Run.objects.create(**{**defaults, **values})


def running(**values: Any) -> Run:
    times = {"started_at": NOON, "heartbeat_at": NOON}
    return made(**{"status": Status.RUNNING, "concurrency_key": "probe", **times, **values})


def executed(**options: Any) -> None:
    runner.execute(made(options=options).pk, worker=CHILD)


def recorded(*, until: timedelta = HOUR, **policy: Any) -> None:
    """Record what beat would after being down for this long, starting at noon."""
    hourly(handled_until=NOON)
    SchedulePolicy.objects.update(**policy)
    ledger.record_due(NOON + until + MINUTE * 30)


def overlapping(concurrency: Concurrency, *, max_queued: int = 1) -> None:
    running()
    guard = Guard(key="probe", concurrency=concurrency, max_queued=max_queued)
    overlap.start(made(), guard, NOON)


def cancelled(why: Why) -> Run:
    run = running()
    overlap.request_cancel(run, why, NOON)
    return run


def ended_after_cancel(run: Run) -> None:
    """End the run as its own process does when a heartbeat finds the cancel."""
    interrupter = RecordingInterrupter()
    limits = Limits(time_limit=None, grace=HOUR)
    tree = ProcessTree(run.pk, is_nested=False)
    heartbeat = Heartbeat(run, OutputLog(run, OutputRecorder(1000)), interrupter, tree, limits, Meter())
    heartbeat.beat()
    assert interrupter.interrupt_given is not None
    assert attempts.end(run, outcome_of(interrupter.interrupt_given))
    heartbeat.stop()


def stopped_by_worker() -> Run:
    run = running()
    main_process.cancel_all("celery@here")
    return run


def released_after_a_pause() -> None:
    schedule = hourly(handled_until=NOON + MINUTE)
    ends = {"until": NOON + 90 * MINUTE, "on_resume": PausedSlots.RUN_ONCE}
    Pause.objects.create(schedule=schedule, since=NOON, username="ann", reason="move", **ends)
    ledger.record_due(NOON + 90 * MINUTE)


def edited(*, late: timedelta) -> None:
    schedule = hourly(handled_until=NOON - HOUR)
    schedule.next_slot.__class__.objects.update(slot=NOON, due_at=NOON)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + late)


def not_started_before_the_next(**policy: Any) -> None:
    """No worker has started the run of noon."""
    hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.update(**policy)
    for hours in range(3):
        ledger.record_due(NOON + hours * HOUR)
        ledger.expire(NOON + hours * HOUR)


def with_a_calendar(*, moved: bool, until: datetime = NOON + 25 * HOUR) -> None:
    """The day of the slot is left out."""
    schedule = limited_by(hourly(), "2026-03-02 # stocktaking", moved=moved)
    CrontabSchedule.objects.update(hour="13", day_of_month="2")
    ledger.sync([schedule.pk], NOON)
    ledger.record_due(until)


def edited_before_its_new_time() -> None:
    with_a_calendar(moved=True, until=NOON + 2 * HOUR)
    CrontabSchedule.objects.update(hour="20")
    ledger.sync([PeriodicTask.objects.get().pk], NOON + 2 * HOUR)


def expired_meanwhile() -> None:
    hourly(handled_until=NOON, expires=NOON + HOUR + MINUTE)
    ledger.record_due(NOON + 2 * HOUR)


def expired_in_the_queue() -> None:
    made(start_before=NOON)
    ledger.expire(NOON)


def paused() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    Pause.objects.create(schedule=schedule, since=NOON - HOUR, username="ann", reason="move")
    Pause.objects.create(since=NOON - HOUR, until=NOON + HOUR)
    ledger.record_due(NOON)


def skipped_on_the_command_line() -> None:
    running()
    with pytest.raises(CommandError, match="Skipped"):
        call_command("probe")


def ended_by_signal() -> None:
    with pytest.raises(SignalExit) as raised, abrupt_ends.handled(abrupt_ends.raise_exit):
        signal.raise_signal(signal.SIGTERM)
    attempts.end(running(trigger=Trigger.CLI), outcome_of(raised.value))


def without_heartbeat(**values: Any) -> None:
    run = running(**values)
    now = NOON + 10 * HOUR
    Run.objects.filter(pk=run.pk).update(heartbeat_at=now - HOUR)
    rescue.rescue(now, Watch(now))


def died(**values: Any) -> None:
    run = running(**values)
    loss = Loss(task_id=str(run.pk), child=CHILD, error=str(WorkerLostError("signal 9")))
    main_process.end_run_of(loss)


def never_began(error: str) -> None:
    run = made(deaths_before_start=losses.MAX_DEATHS - 1)
    loss = Loss(task_id=str(run.pk), child=CHILD, error=error, exit_signal=losses.exit_signal_in(error))
    assert losses.publish_unclaimed(run.pk, replace(loss, ran_out_of_memory="9" in error), is_claiming=True)


def exceeded_its_memory_limit() -> None:
    why = Why.of(Reason.MEMORY_LIMIT, limit_bytes=100, used_bytes=101)
    run = running()
    attempts.end(run, outcome_of(MemoryLimitExceeded(why, run_id=run.pk)))


def ran_out_of_memory() -> None:
    run = running()
    rescue.give_up(run, Why.of(Reason.OUT_OF_MEMORY, worker=CHILD), error="signal 9", exit_signal="SIGKILL")


def killed_by_its_worker() -> None:
    run = running(job="limited")
    main_process.end_run_of(Loss(task_id=str(run.pk), child=CHILD))


def timed_out() -> None:
    why = Why.of(Reason.TIME_LIMIT, limit_seconds=MINUTE)
    run = running()
    attempts.end(run, outcome_of(JobTimedOut(why, run_id=run.pk)))


def message_not_created(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise TypeError("odd")

    made(publish_after=NOON)
    monkeypatch.setattr(publisher, "_send", refuse)
    publisher.publish_due(NOON)


def succeeded(run: Run) -> None:
    assert attempts.end(run, SUCCESS)


def limited_by_schedule() -> None:
    schedule = hourly(task="probes.allowing", handled_until=NOON - MINUTE)
    for _ in range(3):
        made(job="allowing", schedule=schedule)
    ledger.record_due(NOON)


def sent_elsewhere(**values: Any) -> Run:
    return made(job="billing.charge", queued_at=NOON, **{"look_at": NOON, **values})


def looked_at(found: Result | Undecodable | None, *, after: timedelta = MINUTE) -> None:
    run = sent_elsewhere()
    awaiting.sent([run], NOON)
    with time_machine.travel(NOON + after, tick=False):
        looking.record(looking.claim(), {run.pk: found} if found else {})


def unanswered() -> None:
    looked_at(None)
    with time_machine.travel(NOON + looking.MAX_OUTAGE, tick=False):
        looking._give_up(Run.objects.all(), looking.MAX_OUTAGE, Reason.NO_ANSWER)


def limited_by_job() -> None:
    hourly(task="probes.allowing", handled_until=NOON - MINUTE)
    Run.objects.bulk_create(Run(job="allowing", trigger=Trigger.CELERY) for _ in range(100))
    ledger.record_due(NOON)


Scenario = Callable[[], object]
SCENARIOS: dict[tuple[str, str], list[Scenario]] = {
    ("queued", "caught_up"): [recorded],
    ("queued", "after_pause"): [released_after_a_pause],
    ("queued", "moved"): [lambda: with_a_calendar(moved=True)],
    ("queued", "schedule_edited"): [lambda: edited(late=timedelta(seconds=1))],
    ("queued", "retry"): [lambda: attempts.end(running(job="restarting"), outcome_of(OSError("no")))],
    ("queued", "overlap"): [lambda: overlapping(Concurrency.QUEUE)],
    ("skipped", "overlap"): [lambda: overlapping(Concurrency.FORBID), skipped_on_the_command_line],
    ("skipped", "queue_full"): [lambda: overlapping(Concurrency.QUEUE, max_queued=0)],
    ("skipped", "too_many_live"): [limited_by_schedule, limited_by_job],
    ("skipped", "paused"): [paused],
    ("skipped", "left_out"): [lambda: with_a_calendar(moved=False)],
    ("missed", "late"): [lambda: recorded(misfire=Misfire.SKIP)],
    ("missed", "coalesced"): [lambda: recorded(until=2 * HOUR)],
    ("expired", "late"): [lambda: not_started_before_the_next(misfire=Misfire.SKIP)],
    ("missed", "superseded"): [not_started_before_the_next],
    ("missed", "catch_up_limit"): [
        lambda: recorded(until=2 * HOUR, misfire=Misfire.ALL, catch_up_limit=1),
        lambda: not_started_before_the_next(misfire=Misfire.ALL, catch_up_limit=1),
    ],
    ("missed", "schedule_expired"): [expired_meanwhile],
    ("missed", "schedule_edited"): [lambda: edited(late=HOUR)],
    ("skipped", "schedule_edited"): [edited_before_its_new_time],
    ("missed", "deadline"): [lambda: recorded(starting_deadline=MINUTE)],
    ("expired", "deadline"): [expired_in_the_queue],
    ("sent", "awaits_result"): [lambda: looked_at(Result(state="STARTED", worker="w"))],
    ("sent", "no_result_backend"): [lambda: awaiting.sent([sent_elsewhere(look_at=None)], NOON)],
    ("sent", "no_result"): [lambda: looked_at(None, after=MAX_SILENCE)],
    ("sent", "no_answer"): [unanswered],
    ("sent", "unreadable_result"): [lambda: looked_at(Undecodable(problem="odd"))],
    ("running", "user"): [lambda: cancelled(BY_ANN)],
    ("running", "superseded"): [lambda: overlapping(Concurrency.REPLACE), lambda: cancelled(SUPERSEDED)],
    ("running", "worker_shutdown"): [stopped_by_worker],
    ("succeeded", "user"): [lambda: succeeded(cancelled(BY_ANN))],
    ("succeeded", "superseded"): [lambda: succeeded(cancelled(SUPERSEDED))],
    ("succeeded", "worker_shutdown"): [lambda: succeeded(stopped_by_worker())],
    ("cancelled", "user"): [
        lambda: overlap.request_cancel(made(), BY_ANN, NOON),
        lambda: ended_after_cancel(cancelled(BY_ANN)),
    ],
    ("cancelled", "superseded"): [lambda: ended_after_cancel(cancelled(SUPERSEDED))],
    ("cancelled", "worker_shutdown"): [lambda: ended_after_cancel(stopped_by_worker())],
    ("cancelled", "interrupted"): [lambda: attempts.end(running(), outcome_of(KeyboardInterrupt()))],
    ("timed_out", "time_limit"): [timed_out, killed_by_its_worker],
    ("timed_out", "lost_process"): [lambda: died(job="limited", started_at=timezone.now() - HOUR)],
    ("timed_out", "lost_heartbeat"): [lambda: without_heartbeat(job="limited")],
    ("lost", "lost_process"): [died],
    ("lost", "lost_heartbeat"): [without_heartbeat],
    ("failed", "memory_limit"): [exceeded_its_memory_limit],
    ("failed", "out_of_memory"): [ran_out_of_memory],
    ("failed", "never_began"): [
        lambda: never_began("signal 9 (SIGKILL)"),
        lambda: never_began("exitcode 3"),
    ],
    ("failed", "bad_options"): [lambda: executed(level=9)],
    ("failed", "unknown_job"): [lambda: runner.execute(made(job="gone").pk, worker=CHILD)],
    ("failed", "command_error"): [lambda: executed(fail="no")],
    ("failed", "exception"): [lambda: executed(crash="boom")],
    ("failed", "exit_code"): [lambda: executed(exit=3), lambda: executed(exit_text="no")],
    ("failed", "signal"): [ended_by_signal],
}
NEEDS_PATCHING = ("failed", "no_message")


def written(pair: tuple[str, str]) -> Run:
    status, reason = pair
    return Run.objects.filter(status=status, reason=reason).latest("queued_at")


@pytest.mark.parametrize(
    ("pair", "scenario"),
    [
        pytest.param(pair, scenario, id=f"{'-'.join(pair)}-{number}")
        for pair, several in SCENARIOS.items()
        for number, scenario in enumerate(several)
    ],
)
def test_a_reason_is_recorded_with_the_documented_details(pair: tuple[str, str], scenario: Scenario) -> None:
    scenario()
    run = written(pair)
    assert set(run.reason_details) <= documented()[pair]
    assert str(reasons.sentence(run, NOON)).endswith(".")
    assert bool(reasons.explanation(run)) is (pair[0] not in ("queued", "running", "succeeded"))


def test_a_run_whose_message_cannot_be_created_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    message_not_created(monkeypatch)
    assert set(written(NEEDS_PATCHING).reason_details) <= documented()[NEEDS_PATCHING]


def test_the_documented_reasons_are_the_recorded_ones() -> None:
    assert set(documented()) == {*SCENARIOS, NEEDS_PATCHING}
    assert {reason for _, reason in documented()} == set(Reason)


def test_every_reason_has_a_sentence_of_its_own() -> None:
    """It differs from the sentence of an otherwise equal row without a reason."""
    for status, reason in documented():
        values = {
            "status": status,
            "queued_at": NOON,
            "attempt": 2,
            "exit_code": 3,
            "cancel_requested_at": NOON,
        }
        with_reason, without = Run(**values, reason=reason, reason_details={}), Run(**values)
        texts = {f"{reasons.sentence(run, NOON)}{reasons.explanation(run)}" for run in (with_reason, without)}
        is_quoted = status == "failed" and reason in QUOTED
        assert len(texts) == (1 if is_quoted else 2), (status, reason)


QUOTED = ("bad_options", "unknown_job", "command_error", "exception")
"""The sentence is the message of the job or its parser."""


def test_details_are_plain_json_without_unknown_facts() -> None:
    why = Why.of(Reason.USER, user="a\x00b", comment="x" * 1000, trigger=Trigger.ADMIN, run=None, worker="")
    assert why.details == {"user": "a␀b", "comment": "x" * 500, "trigger": "admin"}
    assert [type(value) for value in why.details.values()] == [str] * 3
    assert Why.of(Reason.DEADLINE, limit_seconds=MINUTE, slot=NOON).details == {
        "limit_seconds": 60.0,
        "slot": "2026-03-02T12:00:00+00:00",
    }
