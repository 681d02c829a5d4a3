"""Statistics of the newest runs, in a constant number of queries."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin import recent_runs
from jobledger.admin.recent_runs import WINDOW, ScheduleCounts, job_statistics
from jobledger.jobs import registry
from jobledger.models import NextSlot, Run, Status, Trigger
from tests.unit.jobledger.admin.schedules.schedules import run_of
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def make(status: Status = Status.SUCCEEDED, *, job: str = "probe", minute: int = 0, took: int = 1) -> Run:
    at = NOON + timedelta(minutes=minute)
    return Run.objects.create(
        job=job,
        trigger=Trigger.SCHEDULE,
        status=status,
        queued_at=at,
        started_at=at,
        finished_at=at + took * SECOND,
    )


def test_the_last_run_is_the_newest_regardless_of_status() -> None:
    make(minute=1)
    newest = make(Status.SKIPPED, minute=2)
    make(minute=0)
    last = job_statistics(["probe"])["probe"].last
    assert last is not None
    assert (last.id, last.status) == (newest.pk, Status.SKIPPED)


def test_only_completed_runs_count_towards_the_success_rate() -> None:
    for status in Status:
        make(status)
    found = job_statistics(["probe"])["probe"]
    assert (found.succeeded, found.executed) == (1, 4)


def test_the_typical_duration_is_the_median_of_successful_runs() -> None:
    for took in (1, 2, 600):
        make(took=took)
    make(Status.FAILED, took=9000)
    assert job_statistics(["probe"])["probe"].typical_duration == 2 * SECOND


def test_a_job_without_runs_has_no_statistics() -> None:
    found = job_statistics(["probe"])["probe"]
    assert (found.last, found.executed, found.typical_duration) == (None, 0, None)


def test_old_runs_do_not_count() -> None:
    make(Status.FAILED, minute=-1)
    for minute in range(WINDOW):
        make(minute=minute)
    found = job_statistics(["probe"])["probe"]
    assert (found.succeeded, found.executed) == (WINDOW, WINDOW)


def test_each_job_has_its_own_runs() -> None:
    make()
    make(Status.FAILED, job="other")
    found = job_statistics(["probe", "other", "idle"])
    assert [each.succeeded for each in found.values()] == [1, 0, 0]


@pytest.mark.parametrize(("jobs", "queries"), [(0, 0), (1, 1), (200, 1), (500, 3)])
def test_many_jobs_take_few_queries(jobs: int, queries: int) -> None:
    with CaptureQueriesContext(connection) as asked:
        job_statistics(f"job{number}" for number in range(jobs))
    assert len(asked) == queries


def plan_of(query: Any) -> str:
    with connection.cursor() as cursor:
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        sql, params = query.query.sql_with_params()
        cursor.execute(f"{explain} {sql}", params)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL reads a small table whole")
def test_no_query_reads_all_runs() -> None:
    plan = plan_of(recent_runs._newest(["a", "b", "c"]))
    assert plan.count("run_by_job (job>? AND job<?)") == 3
    assert "SCAN" not in plan


def schedule(name: str, slot: datetime | None, *, enabled: bool = True, task: str = "probes.probe") -> None:
    crontab, _ = CrontabSchedule.objects.get_or_create(minute="0")
    made = PeriodicTask.objects.create(name=name, task=task, crontab=crontab, enabled=enabled)
    if slot:
        NextSlot.objects.update_or_create(
            schedule=made, defaults={"slot": slot, "due_at": slot, "handled_until": NOON, "timing": "x"}
        )


def test_schedules_are_counted_with_the_next_slot() -> None:
    schedule("a", NOON + 2 * SECOND)
    schedule("b", NOON + SECOND)
    schedule("c", None, enabled=False)
    schedule("d", NOON, task="probes.lasting")
    found = recent_runs.schedule_counts([registry.find("probe"), registry.find("trace")])
    assert found == {"probe": ScheduleCounts(total=3, enabled=2, next_slot=NOON + SECOND)}


def test_each_schedule_has_its_own_newest_first() -> None:
    one, two = hourly("one"), hourly("two")
    for minutes_ago in (3, 1, 2):
        run_of(one, minutes_ago=minutes_ago)
    only = run_of(two, minutes_ago=9)
    found = recent_runs.runs_of_schedules([one.pk, two.pk], 2)
    assert [run.queued_at for run in found[one.pk].runs] == [NOON - timedelta(minutes=ago) for ago in (1, 2)]
    assert [run.id for run in found[two.pk].runs] == [only.pk]


def test_the_runs_of_each_schedule_are_counted_since_a_time_of_its_own() -> None:
    often, seldom = hourly("often"), hourly("seldom")
    for number in range(1, 6):
        run_of(often, minutes_ago=number)
        run_of(seldom, minutes_ago=10 * number)
    found = recent_runs.runs_of_schedules([often.pk, seldom.pk], 3)
    assert [len(found[each.pk].counted) for each in (often, seldom)] == [3, 3]


def test_other_schedules_and_those_without_runs_are_omitted() -> None:
    one, two = hourly("one"), hourly("two")
    run_of(two)
    assert recent_runs.runs_of_schedules([one.pk], 5) == {}
    assert recent_runs.runs_of_schedules([], 5) == {}


def test_the_limit_applies_to_runs_queued_at_the_same_time() -> None:
    schedule = hourly()
    for _ in range(5):
        run_of(schedule)
    assert len(recent_runs.runs_of_schedules([schedule.pk], 3)[schedule.pk].runs) == 3


@pytest.mark.parametrize("others", [0, 1])
def test_runs_that_were_queued_with_the_last_one_are_counted_however_many_schedules_there_are(
    others: int,
) -> None:
    schedule, *_ = [hourly(f"number {number}") for number in range(1 + others)]
    for minutes_ago in (1, 2, 3, 3, 3, 4):
        run_of(schedule, minutes_ago=minutes_ago)
    found = recent_runs.runs_of_schedules(PeriodicTask.objects.values_list("pk", flat=True), 3)
    assert (len(found[schedule.pk].runs), len(found[schedule.pk].counted)) == (3, 5)


def test_runs_of_one_schedule_are_read_in_the_order_of_the_index_and_no_more_of_them() -> None:
    """PostgreSQL cannot know how few runs are later than what a subquery finds, and read all."""
    schedule = hourly()
    for minutes_ago in range(9):
        run_of(schedule, minutes_ago=minutes_ago)
    with CaptureQueriesContext(connection) as asked:
        found = recent_runs.runs_of_schedules([schedule.pk], 3)[schedule.pk]
    assert (len(found.runs), len(found.counted), len(asked)) == (3, 3, 1)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {asked[0]['sql']}")
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())
    assert "run_by_schedule" in plan
    assert not re.search("SUBQUERY|InitPlan|TEMP B-TREE|Sort|Bitmap", plan)
    assert asked[0]["sql"].endswith("LIMIT 4")


def test_many_schedules_take_two_queries(django_assert_num_queries: Any) -> None:
    schedules = [hourly(f"number {number}") for number in range(10)]
    for schedule in schedules:
        run_of(schedule)
    with django_assert_num_queries(2):
        assert len(recent_runs.runs_of_schedules([each.pk for each in schedules], 20)) == 10


@pytest.mark.parametrize(
    ("values", "took"),
    [
        ({"seconds": 5}, timedelta(seconds=5)),
        ({"status": Status.RUNNING, "finished_at": None, "minutes_ago": 2}, timedelta(minutes=2)),
        ({"status": Status.MISSED, "started_at": None}, None),
        ({"status": Status.QUEUED, "finished_at": None}, None),
    ],
)
def test_the_duration_of_a_run_is_its_execution_time(values: dict[str, Any], took: timedelta | None) -> None:
    schedule = hourly()
    run_of(schedule, **values)
    (run,) = recent_runs.runs_of_schedules([schedule.pk], 1)[schedule.pk].runs
    assert run.took(NOON) == took
