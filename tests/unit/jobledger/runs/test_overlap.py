"""A running row prevents its job from overlapping, however the job is started."""

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency
from jobledger.models import Reason, Run, SchedulePolicy, Status, Trigger
from jobledger.runs import dispatch, overlap, reasons
from jobledger.runs.execution import calls, runner
from jobledger.runs.overlap import Guard, OverlapError
from jobledger.runs.publishing import intervals, publisher
from tests.probes.management.commands.lasting import Command as Lasting
from tests.unit.builders import NOON, override
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db

T = TypeVar("T")


def guard(concurrency: Concurrency, *, max_queued: int = 1) -> Guard:
    return Guard(key="probe", concurrency=concurrency, max_queued=max_queued)


def queued(**values: Any) -> Run:
    return Run.objects.create(**{"job": "probe", "trigger": Trigger.CELERY, **values})


def running(**values: Any) -> Run:
    return queued(status=Status.RUNNING, concurrency_key="probe", started_at=NOON, **values)


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any) -> list[Run]:
    """The runs that were published after waiting."""
    runs: list[Run] = []
    monkeypatch.setattr(publisher, "try_to_publish", runs.extend)
    return runs


def test_a_free_job_is_taken_and_a_held_one_is_not() -> None:
    first, second = queued(), queued()
    assert overlap.start(first, guard(Concurrency.FORBID), NOON)
    assert overlap.start(second, guard(Concurrency.FORBID), NOON)
    assert (first.status, second.status) == (Status.RUNNING, Status.SKIPPED)
    assert overlap.holder_of("probe") == first


def test_a_run_that_starts_is_no_longer_waiting() -> None:
    run = queued(**overlap.held_by(None).columns)
    assert overlap.start(run, guard(Concurrency.QUEUE), NOON)
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_details) == ("running", "", {})


def a_schedule(concurrency: str = "") -> PeriodicTask:
    every = IntervalSchedule.objects.create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every)
    SchedulePolicy.objects.filter(schedule=schedule).update(concurrency=concurrency)
    return schedule


def at_once(run: Run, job: str = "") -> Run | None:
    by = {"worker": "w", "worker_identity": "i"}
    return overlap.start_at_once(run.pk, registry.find(job or run.job), **by)


def columns_of(run: Run | None) -> dict[str, Any]:
    assert run is not None
    return {field.name: field.value_from_object(run) for field in Run._meta.concrete_fields}


@pytest.mark.parametrize("chosen", ["no schedule", "no policy", "", *Concurrency])
@pytest.mark.parametrize("job", ["probe", "talking"])
def test_a_single_statement_starts_a_run_just_as_several_do(job: str, chosen: str) -> None:
    schedule = None if chosen == "no schedule" else a_schedule(chosen if chosen != "no policy" else "")
    if chosen == "no policy":
        SchedulePolicy.objects.all().delete()
    values = {**overlap.held_by(None).columns, "schedule": schedule, "publish_after": NOON}
    run = Run.objects.get(pk=queued(job=job, **values).pk)
    with time_machine.travel(NOON, tick=False):
        started = at_once(run)
    Run.objects.update(status=Status.QUEUED)
    times = {"started_at": NOON, "heartbeat_at": NOON, "publish_after": None}
    assert overlap.start(run, overlap.guard_of(run), NOON, **times, worker="w", worker_identity="i")
    assert columns_of(started) == columns_of(run) == columns_of(Run.objects.get())


def test_a_single_statement_starts_no_run_of_another_job() -> None:
    assert at_once(queued(), "queueing") is None


def test_a_single_statement_starts_no_run_whose_key_depends_on_its_options() -> None:
    assert at_once(queued(job="lasting", options={"tenant": "a"})) is None


@pytest.mark.parametrize(
    "values",
    [{"status": Status.RUNNING}, {"start_after": NOON + timedelta(1)}, {"start_before": NOON}],
    ids=["running", "early", "late"],
)
def test_a_single_statement_starts_no_run_that_may_not_start(values: dict[str, Any]) -> None:
    with time_machine.travel(NOON):
        assert at_once(queued(**values)) is None


def test_a_single_statement_starts_no_run_whose_key_is_held() -> None:
    running()
    second = queued()
    assert at_once(second) is None
    second.refresh_from_db()
    assert second.status == Status.QUEUED


def test_without_a_key_any_number_of_runs_may_overlap() -> None:
    assert all(overlap.start(run, overlap.FREE, NOON) for run in (queued(), queued()))


def test_runs_with_different_keys_may_overlap() -> None:
    running()
    other = Guard(key="probe:tenant", concurrency=Concurrency.FORBID, max_queued=1)
    assert overlap.start(queued(), other, NOON)


def test_the_lock_ends_with_its_run() -> None:
    held = running()
    Run.objects.filter(pk=held.pk).update(status=Status.SUCCEEDED)
    assert overlap.start(queued(), guard(Concurrency.FORBID), NOON)


def test_a_run_that_would_overlap_is_skipped_and_names_the_holder() -> None:
    holder, second = running(schedule_name="nightly"), queued()
    overlap.start(second, guard(Concurrency.FORBID), NOON)
    second.refresh_from_db()
    assert (second.status, second.reason) == (Status.SKIPPED, Reason.OVERLAP)
    assert second.reason_details == {
        "run": str(holder.pk),
        "job": "probe",
        "started_at": "2026-03-01T12:00:00+00:00",
        "trigger": "celery",
        "schedule": "nightly",
    }


def test_one_run_waits_and_further_ones_are_skipped() -> None:
    holder = running()
    waiting, extra = queued(), queued()
    for run in waiting, extra:
        overlap.start(run, guard(Concurrency.QUEUE), NOON)
    waiting.refresh_from_db()
    extra.refresh_from_db()
    assert (waiting.status, waiting.concurrency_key, waiting.reason) == ("queued", "probe", "overlap")
    assert waiting.publish_after is not None
    assert waiting.publish_after > NOON
    assert (extra.status, extra.reason) == (Status.SKIPPED, Reason.QUEUE_FULL)
    details = extra.reason_details
    assert (details["run"], details["waiting"], details["max_queued"]) == (str(holder.pk), 1, 1)


@pytest.mark.django_db(transaction=True)
def test_no_more_runs_wait_than_allowed_if_many_arrive_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_have_counted, others_waiting = threading.Barrier(4), overlap._others_waiting

    def count_slowly(run: Run, guard: Guard) -> int:
        answer = others_waiting(run, guard)
        # Only threads that count at the same time meet here; nothing else would delay them for that long.
        with suppress(threading.BrokenBarrierError):
            all_have_counted.wait(0.5)
        return answer

    monkeypatch.setattr(overlap, "_others_waiting", count_slowly)
    with side_by_side(tmp_path) as threads:
        running()
        runs = [queued() for _ in range(4)]
        threads.call([partial(overlap.start, run, guard(Concurrency.QUEUE), NOON) for run in runs])
        statuses = Counter(Run.objects.values_list("status", flat=True))
    assert statuses == {"running": 1, "queued": 1, "skipped": 3}


def test_more_runs_may_wait_if_the_job_allows_it() -> None:
    running()
    waiting = [queued(), queued()]
    for run in waiting:
        overlap.start(run, guard(Concurrency.QUEUE, max_queued=2), NOON)
    assert Run.objects.filter(status=Status.QUEUED).count() == 2


@pytest.mark.parametrize(("misfire", "status"), [("all", Status.QUEUED), ("once", Status.SKIPPED)])
def test_runs_of_a_schedule_that_starts_each_missed_run_wait_however_many_there_are(
    misfire: str, status: Status
) -> None:
    every = IntervalSchedule.objects.create(every=1, period="hours")
    schedule = PeriodicTask.objects.create(name="each", task="probes.probe", interval=every)
    SchedulePolicy.objects.update(concurrency=Concurrency.QUEUE, misfire=misfire)
    running()
    runs = [queued(trigger=Trigger.SCHEDULE, schedule=schedule) for _ in range(3)]
    for run in Run.objects.filter(pk__in=[run.pk for run in runs]).select_related("schedule__policy"):
        overlap.start(run, overlap.guard_of(run), NOON)
    statuses = list(Run.objects.filter(schedule=schedule).values_list("status", flat=True))
    assert sorted(statuses) == sorted([Status.QUEUED, status, status])


def test_a_replacing_run_cancels_the_holder_and_waits() -> None:
    holder, second = running(), queued()
    overlap.start(second, guard(Concurrency.REPLACE), NOON)
    holder.refresh_from_db()
    second.refresh_from_db()
    assert holder.cancel_requested_at == NOON
    assert (holder.reason, holder.reason_details) == (Reason.SUPERSEDED, {"run": str(second.pk)})
    assert second.status == Status.QUEUED


def test_a_run_whose_message_is_delivered_twice_does_not_replace_itself() -> None:
    run = running()
    assert not overlap.start(run, guard(Concurrency.REPLACE), NOON)
    run.refresh_from_db()
    assert (run.status, run.cancel_requested_at, run.publish_after) == ("running", None, None)


def test_the_run_that_has_waited_longest_is_published(
    published: list[Run], django_capture_on_commit_callbacks: Any
) -> None:
    later = queued(concurrency_key="probe", queued_at=NOON.replace(minute=2))
    first = queued(concurrency_key="probe", queued_at=NOON.replace(minute=1))
    with django_capture_on_commit_callbacks(execute=True):
        overlap.wake("probe")
    assert published == [first]
    assert later not in published


@pytest.mark.parametrize("at_once", [True, False])
def test_a_run_that_is_published_again_waits_for_a_worker_and_for_no_other_run(at_once: bool) -> None:
    holder, waiting = running(), queued(publish_count=3)
    overlap.start(waiting, guard(Concurrency.QUEUE), NOON)
    assert reasons.short(waiting, NOON).startswith(f"waiting for run {holder.short_id}")
    Run.objects.filter(pk=holder.pk).update(status=Status.SUCCEEDED)
    overlap.wake("probe", at_once=at_once)
    waiting.refresh_from_db()
    assert (waiting.reason, waiting.reason_details, waiting.publish_count) == ("", {}, 0)
    assert reasons.short(waiting, NOON).startswith("not yet recorded as published")


def test_a_run_that_has_superseded_others_keeps_their_place(
    published: list[Run], django_capture_on_commit_callbacks: Any
) -> None:
    """Otherwise, a schedule that is due often would always come last."""
    queued(concurrency_key="probe", queued_at=NOON.replace(minute=2))
    newer = queued(
        concurrency_key="probe",
        queued_at=NOON.replace(minute=3),
        waiting_since=NOON.replace(minute=1),
    )
    with django_capture_on_commit_callbacks(execute=True):
        overlap.wake("probe")
    assert published == [newer]


def test_publishing_a_waiting_run_can_be_left_to_beats_next_tick(
    published: list[Run], django_capture_on_commit_callbacks: Any
) -> None:
    waiting = queued(concurrency_key="probe", publish_after=timezone.now() + timedelta(hours=1))
    with django_capture_on_commit_callbacks(execute=True):
        overlap.wake("probe", at_once=False)
    waiting.refresh_from_db()
    assert published == []
    assert waiting.publish_after is not None
    assert waiting.publish_after <= timezone.now()


def test_beat_publishes_a_waiting_run_if_publishing_it_at_once_fails(published: list[Run]) -> None:
    waiting = queued(concurrency_key="probe", publish_after=timezone.now() + timedelta(hours=1))
    overlap.wake("probe")
    waiting.refresh_from_db()
    assert waiting.publish_after is not None
    assert waiting.publish_after <= timezone.now() + intervals.GRACE_PERIOD


def test_the_more_runs_are_ahead_the_later_a_waiting_runs_message_is_sent_again() -> None:
    running()
    first, interval = NOON - timedelta(hours=1), intervals.publish_interval(1)
    runs = [queued(queued_at=first + timedelta(seconds=number)) for number in range(70)]
    for run in runs:
        assert overlap.start(run, guard(Concurrency.QUEUE, max_queued=100), NOON)
    after = [run.publish_after - NOON for run in runs if run.publish_after]
    assert after[:3] == [interval, 2 * interval, 3 * interval]
    assert after[-1] == intervals.MAX_INTERVAL
    assert len(after) == 70
    # Nothing changes if the messages arrive in another order.
    assert overlap.start(runs[0], guard(Concurrency.QUEUE, max_queued=100), NOON)
    assert runs[0].publish_after == NOON + interval


def test_no_more_of_those_ahead_are_counted_than_make_a_difference() -> None:
    """Otherwise, each of ten thousand that wait would count all the others."""
    running()
    ahead = [Run(job="probe", trigger=Trigger.CELERY, concurrency_key="probe") for _ in range(70)]
    Run.objects.bulk_create(ahead)
    last = queued(queued_at=timezone.now() + timedelta(hours=1))
    with CaptureQueriesContext(connection) as queries:
        assert overlap.start(last, guard(Concurrency.QUEUE, max_queued=100), NOON)
    most = intervals.MAX_INTERVAL // intervals.publish_interval(1)
    assert len([each for each in queries if f" LIMIT {most}" in each["sql"]]) == 1
    assert last.publish_after == NOON + intervals.MAX_INTERVAL


def test_a_run_whose_holder_ends_in_the_meantime_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    holder, run = running(), queued()
    locked_holder = overlap._locked_holder

    def holder_ends(key: str) -> Run | None:
        Run.objects.filter(pk=holder.pk).update(status=Status.SUCCEEDED)
        return locked_holder(key)

    monkeypatch.setattr(overlap, "_locked_holder", holder_ends)
    assert overlap.start(run, guard(Concurrency.FORBID), NOON)
    assert run.status == Status.RUNNING


def test_a_run_whose_holder_keeps_changing_is_left_to_its_next_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running()
    run = queued()
    monkeypatch.setattr(overlap, "_locked_holder", lambda key: None)
    assert not overlap.start(run, guard(Concurrency.FORBID), NOON)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_the_message_of_an_earlier_attempt_does_not_skip_a_later_one() -> None:
    running()
    run = queued()
    Run.objects.filter(pk=run.pk).update(attempt=2)
    assert not overlap.start(run, guard(Concurrency.FORBID), NOON)
    run.refresh_from_db()
    assert run.status == Status.QUEUED


def test_when_a_run_ends_the_waiting_run_is_published(
    published: list[Run], django_capture_on_commit_callbacks: Any
) -> None:
    waiting = queued(concurrency_key="probe")
    with django_capture_on_commit_callbacks(execute=True):
        call_command("probe")
    assert published == [waiting]


def test_the_policy_of_a_schedule_overrides_that_of_its_job() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every)
    assert (
        overlap.guard_of(Run(job="probe", options={}, schedule_id=schedule.pk)).concurrency
        is Concurrency.FORBID
    )
    SchedulePolicy.objects.update(concurrency=Concurrency.QUEUE)
    assert (
        overlap.guard_of(Run(job="probe", options={}, schedule_id=schedule.pk)).concurrency
        is Concurrency.QUEUE
    )
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    assert overlap.guard_of(Run(job="probe", options={}, schedule_id=schedule.pk)).key == ""


def test_a_job_can_narrow_its_concurrency_key() -> None:
    assert overlap.guard_of(Run(job="lasting", options={"tenant": "a"})).key == "lasting:a"
    assert overlap.guard_of(Run(job="lasting", options={})).key == "lasting"


@pytest.mark.parametrize(("found", "key"), [(7, "lasting:7"), (None, "lasting"), ("a\0b", "lasting:a␀b")])
def test_a_concurrency_key_may_be_anything_that_has_a_text(
    found: object, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lasting, "concurrency_key", lambda options: found)
    assert overlap.guard_of(Run(job="lasting", options={})).key == key


@pytest.fixture
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job of which nobody knows what it must not overlap with."""
    monkeypatch.setattr(Lasting, "concurrency_key", lambda options: options["shop"])


UNKNOWN_KEY = "The concurrency_key of lasting has raised KeyError: 'shop'"


def test_a_run_whose_concurrency_key_cannot_be_told_fails_instead_of_waiting_forever(keyless: None) -> None:
    run = queued(job="lasting", publish_after=NOON)
    ended = runner.execute(run.pk, worker="w", job=registry.find("lasting"))
    assert ended is not None
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_details) == ("failed", "exception", {"type": "KeyError"})
    assert (run.error, run.started_at, run.publish_after) == (UNKNOWN_KEY, None, None)
    assert "in <lambda>" in run.traceback
    assert reasons.explanation(ended.run) == UNKNOWN_KEY


def test_on_the_command_line_it_does_not_start_either(keyless: None) -> None:
    with pytest.raises(CommandError, match="has raised KeyError"):
        call_command("lasting")
    assert not Run.objects.exists()


def test_a_call_of_it_says_so_at_once(keyless: None) -> None:
    with pytest.raises(CommandError, match="has raised KeyError"):
        call_command("jobledger", "call", "lasting")
    assert not Run.objects.exists()


def test_a_job_that_no_longer_exists_has_no_guard() -> None:
    assert overlap.guard_of(Run(job="retired", options={})) == overlap.FREE


def test_a_worker_skips_a_run_that_would_overlap_and_records_why() -> None:
    running()
    ended = runner.execute(queued().pk, worker="w")
    assert ended is not None
    assert ended.run.status == Status.SKIPPED
    assert ended.run.reason == Reason.OVERLAP


def test_from_the_command_line_overlap_is_recorded_and_exits_with_code_75() -> None:
    running()
    with pytest.raises(CommandError, match=r"^Skipped: run \w+ of the same job was still running") as raised:
        call_command("probe", "x")
    assert raised.value.returncode == 75
    run = Run.objects.get(status=Status.SKIPPED)
    assert (run.trigger, run.exit_code, run.options) == ("cli", 75, {"words": ["x"]})
    assert run.reason == Reason.OVERLAP


def test_from_the_command_line_overlap_can_be_allowed() -> None:
    running()
    call_command("probe", "--allow-overlap")
    assert Run.objects.filter(status=Status.SUCCEEDED).count() == 1


def test_from_the_command_line_a_run_can_wait_for_the_other_to_finish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    holder = running()

    def other_ends(seconds: float) -> None:
        Run.objects.filter(pk=holder.pk).update(status=Status.SUCCEEDED)

    monkeypatch.setattr("jobledger.runs.execution.calls.time.sleep", other_ends)
    call_command("probe", "--wait")
    assert Run.objects.filter(trigger=Trigger.CLI, status=Status.SUCCEEDED).count() == 1


@pytest.fixture
def short_lease(settings: Settings) -> None:
    override(settings, HEARTBEAT_SECONDS=0.1, LEASE_SECONDS=0.5)


def silent(**values: Any) -> Run:
    """Holds the key, but has sent no heartbeat for longer than any lease."""
    return running(heartbeat_at=timezone.now() - timedelta(minutes=5), **values)


@pytest.mark.usefixtures("short_lease")
@pytest.mark.parametrize("concurrency", [Concurrency.FORBID, Concurrency.REPLACE])
def test_without_beat_a_killed_run_does_not_keep_its_job_from_starting(
    concurrency: Concurrency, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry.all_jobs()["probe"].declaration, "concurrency", concurrency)
    holder = silent()
    call_command("probe")
    holder.refresh_from_db()
    assert (holder.status, holder.reason) == (Status.LOST, Reason.LOST_HEARTBEAT)
    assert Run.objects.get(trigger=Trigger.CLI).status == Status.SUCCEEDED
    assert f"Run {holder.pk} sends no heartbeats" in capsys.readouterr().err


@pytest.mark.usefixtures("short_lease")
def test_a_run_that_sends_heartbeats_again_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = silent()

    def beats(seconds: float) -> None:
        Run.objects.filter(pk=holder.pk).update(heartbeat_at=timezone.now() + timedelta(minutes=5))

    monkeypatch.setattr("jobledger.runs.execution.calls.time.sleep", beats)
    with pytest.raises(CommandError, match=r"^Skipped: run"):
        call_command("probe")
    holder.refresh_from_db()
    assert holder.status == Status.RUNNING


def test_a_job_that_calls_itself_does_not_wait_for_itself() -> None:
    call_command("probe", "--child=inner")
    assert Run.objects.filter(status=Status.SUCCEEDED).count() == 2


def test_an_unrelated_integrity_error_is_not_mistaken_for_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Run:
        raise IntegrityError("of another kind")

    monkeypatch.setattr(dispatch, "_begin", refuse)
    request = dispatch.RunRequest(job="probe", trigger=Trigger.CLI)
    with pytest.raises(IntegrityError, match="of another kind"):
        dispatch.begin(request, worker="w", guard=guard(Concurrency.FORBID))


def failing_once(error: Exception, then: Callable[..., T]) -> Callable[..., T]:
    """Wrap a function to raise the error on its first call."""
    errors = [error]

    def wrapper(*args: Any, **kwargs: Any) -> T:
        if errors:
            raise errors.pop()
        return then(*args, **kwargs)

    return wrapper


def test_a_holder_that_has_just_finished_does_not_prevent_another_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = IntegrityError("there was a holder a moment ago")
    monkeypatch.setattr(dispatch, "_begin", failing_once(error, dispatch._begin))
    request = dispatch.RunRequest(job="probe", trigger=Trigger.CLI)
    assert dispatch.begin(request, worker="w", guard=guard(Concurrency.FORBID)).concurrency_key == "probe"


def test_from_the_command_line_a_run_can_replace_one_that_has_just_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = OverlapError(overlap.held_by(None))
    monkeypatch.setattr(dispatch, "begin", failing_once(error, dispatch.begin))
    monkeypatch.setattr(calls, "OVERLAP_POLL_SECONDS", 0)
    call_command("replacing", "--seconds=0")
    assert [run.status for run in Run.objects.all()] == [Status.SUCCEEDED]
