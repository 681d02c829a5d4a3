"""The state of the service now."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.jobs import registry
from jobledger.metrics import gauges, names, totals
from jobledger.metrics.families import METRICS, Kind
from jobledger.models import NextSlot, Pause, ProcessKind, Reason, Run, ServiceProcess, Status, Trigger
from jobledger.runs import dispatch, overlap
from jobledger.runs.dispatch import RunRequest
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def values() -> dict[tuple[str, ...], float]:
    """By name and labels, without the service's prefix."""
    return {(each.metric.name.removeprefix("jobledger_"), *each.labels): each.value for each in read()}


def read() -> Iterable[gauges.Sample]:
    return gauges.read(NOON, totals.names({}))


def schedule(name: str, due_at: Any = NOON + MINUTE, task: str = "probes.probe") -> PeriodicTask:
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    made: PeriodicTask = PeriodicTask.objects.create(name=name, interval=hourly, task=task)
    broken = "" if due_at else "its task is gone"
    NextSlot.objects.filter(pk=made.pk).update(slot=due_at, due_at=due_at, broken=broken)
    return made


def queued(minutes: float = 1, **given: Any) -> None:
    times = {"queued_at": NOON - minutes * MINUTE, "publish_after": NOON}
    Run.objects.create(**{"job": "probe", "trigger": Trigger.ADMIN, **times, **given})


def test_a_run_that_another_one_no_longer_blocks_waits_for_a_worker() -> None:
    queued(concurrency_key="probe", reason=Reason.OVERLAP)
    queued(concurrency_key="probe", reason=Reason.OVERLAP)
    overlap.wake("probe")
    assert values()["queued_runs", "celery"] == 1


def pause(of: PeriodicTask | None, **given: Any) -> None:
    """Not one that makes beat plan the schedule again, from the time at which the test is run."""
    Pause.objects.bulk_create([Pause(**{"schedule": of, "since": NOON - MINUTE, **given})])


def process(kind: ProcessKind, seconds_ago: float = 5, **given: Any) -> None:
    seen_at = NOON - seconds_ago * SECOND
    ServiceProcess.objects.create(kind=kind, name=f"{kind} {seconds_ago}", seen_at=seen_at, **given)


def running(job: str, worker: str = "celery@a:7", **given: Any) -> None:
    Run.objects.create(job=job, trigger=Trigger.ADMIN, status=Status.RUNNING, worker=worker, **given)


def test_a_new_service_has_zeros_and_no_age_of_what_has_never_happened() -> None:
    idle: dict[tuple[str, ...], float] = {("running_runs", job): 0 for job in registry.all_jobs()}
    assert values() == {
        **idle,
        ("schedules",): 0,
        ("broken_schedules",): 0,
        ("overdue_schedules",): 0,
        ("overdue_seconds",): 0,
        ("paused_schedules",): 0,
        ("paused",): 0,
        ("beats",): 0,
        ("workers",): 0,
        ("worker_processes",): 0,
        ("worker_busy_processes",): 0,
        ("build_info", code_version()): 1,
    }


def test_schedules_are_counted_with_those_that_are_broken_or_overdue() -> None:
    schedule("in a minute")
    schedule("just due", NOON - 5 * SECOND)
    schedule("overdue", NOON - 2 * MINUTE)
    schedule("broken", None)
    found = values()
    assert found["schedules",] == 4
    assert found["broken_schedules",] == 1
    assert found["overdue_schedules",] == 1
    assert found["overdue_seconds",] == 120


def test_the_next_run_of_a_job_is_that_of_its_earliest_schedule() -> None:
    schedule("later", NOON + 9 * MINUTE)
    schedule("sooner", NOON + 3 * MINUTE)
    schedule("other", task="probes.allowing")
    found = values()
    assert found["next_run_timestamp_seconds", "probe"] == (NOON + 3 * MINUTE).timestamp()
    assert found["next_run_timestamp_seconds", "allowing"] == (NOON + MINUTE).timestamp()


def test_running_runs_are_counted_by_job() -> None:
    for job in ("probe", "probe", "allowing"):
        Run.objects.create(job=job, trigger=Trigger.CLI, status=Status.RUNNING)
    found = values()
    assert (found["running_runs", "probe"], found["running_runs", "allowing"]) == (2, 1)


def test_what_is_not_in_the_code_but_was_counted_has_a_0_while_it_does_not_run() -> None:
    ended = {totals.Key("line 1", "cron", "succeeded"): totals.Total(count=1)}
    found = list(gauges._running(totals.names(ended)))
    assert [each.value for each in found if each.labels == ("line 1",)] == [0]


def test_a_queue_has_the_runs_that_wait_for_a_worker_and_the_age_of_the_oldest() -> None:
    process(ProcessKind.WORKER, queues=["celery", "idle"])
    queued(5)
    queued(90, start_after=NOON - 2 * MINUTE)
    queued(3, routing={"queue": "reports"})
    found = values()
    assert (found["queued_runs", "celery"], found["queue_oldest_age_seconds", "celery"]) == (2, 300)
    assert (found["queued_runs", "reports"], found["queue_oldest_age_seconds", "reports"]) == (1, 180)
    assert (found["queued_runs", "idle"], found["queue_oldest_age_seconds", "idle"]) == (0, 0)


def test_what_waits_and_runs_is_in_the_queue_that_its_job_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.find("probe").declaration, "queue", "reports")
    dispatch.enqueue(RunRequest(job="probe", trigger=Trigger.ADMIN))
    Run.objects.update(queued_at=NOON - 4 * MINUTE)
    queued(2)  # created by earlier code, which did not know the job's queue
    running("probe", routing={"queue": "reports"})
    found = values()
    assert (found["queued_runs", "reports"], found["queue_oldest_age_seconds", "reports"]) == (2, 240)
    assert found["queue_running_runs", "reports"] == 1
    assert ("queued_runs", "celery") not in found


def test_the_runs_of_a_queue_are_those_that_occupy_a_workers_process() -> None:
    for worker in ("celery@a:7", "celery@b:9", "laptop:12", ""):
        running("probe", worker=worker)
    running("probe", routing={"exchange": "x"})
    running("elsewhere.task")
    found = values()
    assert (found["queue_running_runs", "celery"], found["queued_runs", "celery"]) == (2, 0)
    assert found["running_runs", "probe"] == 5


def test_a_run_that_has_superseded_others_has_waited_as_long_as_they_did() -> None:
    """Otherwise, the queue of a schedule that is due every minute would never seem to wait."""
    queued(1, waiting_since=NOON - 30 * MINUTE)
    queued(2)
    assert values()["queue_oldest_age_seconds", "celery"] == 30 * 60
    Run.objects.update(start_after=NOON - 3 * MINUTE)
    assert values()["queue_oldest_age_seconds", "celery"] == 3 * 60


@pytest.mark.parametrize(
    "given",
    [
        {"start_after": NOON + MINUTE},
        {"start_before": NOON - MINUTE},
        {"concurrency_key": "probe", "reason": Reason.OVERLAP},
        {"routing": {"exchange": "x"}},
        {"job": "elsewhere.task"},
        {"status": Status.RUNNING},
    ],
    ids=str,
)
def test_runs_that_wait_for_something_else_are_in_no_queue(given: dict[str, Any]) -> None:
    queued(**given)
    assert [name for name, *_ in values() if name.startswith("queue")] == []


def test_processes_are_counted_while_they_report_and_the_last_tick_has_an_age_even_afterwards() -> None:
    process(ProcessKind.BEAT, 90)
    process(ProcessKind.WORKER, 5, capacity=4, busy=1)
    process(ProcessKind.WORKER, 6, capacity=2, busy=None)
    process(ProcessKind.WORKER, 90, capacity=8, busy=8)
    found = values()
    assert (found["beats",], found["beat_tick_age_seconds",]) == (0, 90)
    assert (found["workers",], found["worker_processes",], found["worker_busy_processes",]) == (2, 6, 1)


def test_a_pause_of_the_whole_service_is_shown() -> None:
    pausing.pause(None, Terms(until=None, reason="", username="ann"), now=NOON - MINUTE)
    assert values()["paused",] == 1


def test_names_that_are_not_in_the_code_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_OTHERS", 2)
    process(ProcessKind.WORKER, queues=["celery", "idle"])
    for number in range(5):
        Run.objects.create(job=f"line {number}", trigger=Trigger.CRON, status=Status.RUNNING)
        queued(10 + number, routing={"queue": f"queue-{number}"})
    Run.objects.create(job="probe", trigger=Trigger.CRON, status=Status.RUNNING)
    idle = {("running_runs", job) for job in registry.all_jobs()} - {("running_runs", "probe")}
    found = {key: value for key, value in values().items() if len(key) > 1 and key[0] != "build_info"}
    assert {key: value for key, value in found.items() if key not in idle} == {
        **{("running_runs", f"line {number}"): 1 for number in range(2)},
        ("running_runs", "(others)"): 3,
        ("running_runs", "probe"): 1,
        **{("queued_runs", f"queue-{number}"): 1 for number in range(2)},
        **{("queue_oldest_age_seconds", f"queue-{number}"): (10 + number) * 60 for number in range(2)},
        ("queued_runs", "(others)"): 3,
        ("queue_oldest_age_seconds", "(others)"): 14 * 60,
        **{("queued_runs", queue): 0 for queue in ("celery", "idle")},
        **{
            ("queue_running_runs", queue): 0 for queue in ("celery", "idle", "(others)", "queue-0", "queue-1")
        },
        **{("queue_oldest_age_seconds", queue): 0 for queue in ("celery", "idle")},
    }


@pytest.mark.parametrize(
    ("until", "expected"),
    [(None, None), (NOON + 4 * MINUTE, None), (NOON + 3 * MINUTE, 3), (NOON + 2 * MINUTE, 3)],
    ids=str,
)
@pytest.mark.parametrize("is_of_service", [True, False])
def test_a_job_has_no_next_run_if_it_will_be_paused_then(
    until: datetime | None, expected: float | None, is_of_service: bool
) -> None:
    paused = schedule("hourly", NOON + 3 * MINUTE)
    subject = None if is_of_service else paused
    pause(subject, until=until)
    found = values()
    next_run = found.get(("next_run_timestamp_seconds", "probe"))
    assert next_run == (None if expected is None else (NOON + expected * MINUTE).timestamp())
    assert (found["paused_schedules",], found["paused",]) == ((0, 1) if is_of_service else (1, 0))


def test_a_paused_schedule_does_not_hide_the_others_and_later_pauses_do_not_count_yet() -> None:
    sooner, later = schedule("sooner", NOON + 3 * MINUTE), schedule("later", NOON + 9 * MINUTE)
    pause(sooner)
    pause(later, since=NOON + 10 * MINUTE)
    found = values()
    assert found["next_run_timestamp_seconds", "probe"] == (NOON + 9 * MINUTE).timestamp()
    assert found["paused_schedules",] == 1


def test_a_pause_of_the_service_does_not_stop_jobs_that_are_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.find("probe").declaration, "runs_while_paused", True)
    paused = schedule("hourly", NOON + 3 * MINUTE)
    pause(None)
    assert values()["next_run_timestamp_seconds", "probe"] == (NOON + 3 * MINUTE).timestamp()
    pause(paused)
    assert ("next_run_timestamp_seconds", "probe") not in values()


def test_a_slot_that_is_held_starts_when_its_pause_ends_and_beat_may_plan_before_a_slot() -> None:
    for name, task, slot, due in (("held", "probe", -5, 7), ("moved", "allowing", 9, 2)):
        made = schedule(name, task=f"probes.{task}")
        times = {"slot": NOON + slot * MINUTE, "due_at": NOON + due * MINUTE}
        NextSlot.objects.filter(pk=made.pk).update(**times)
    found = values()
    assert found["next_run_timestamp_seconds", "probe"] == (NOON + 7 * MINUTE).timestamp()
    assert found["next_run_timestamp_seconds", "allowing"] == (NOON + 9 * MINUTE).timestamp()


def test_every_gauge_is_declared_and_every_declared_one_can_be_read() -> None:
    schedule("in a minute")
    queued()
    Run.objects.create(job="probe", trigger=Trigger.CLI, status=Status.RUNNING)
    process(ProcessKind.BEAT)
    found = {each.metric for each in read()}
    declared = {each for each in METRICS if each.kind is Kind.GAUGE}
    assert {each.name for each in declared - found} == {"jobledger_last_success_timestamp_seconds"}
    assert found <= declared
    assert all(len(each.labels) == len(each.metric.labels) for each in read())
