"""Each job keeps its young runs, its newest runs, and whatever decides what happens next."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from jobledger.models import Run, SchedulePolicy, Status, Trigger
from jobledger.retention import ledger_size
from tests.unit.builders import override
from tests.unit.jobledger.retention.builders import ended, is_there, prune, schedule

pytestmark = pytest.mark.django_db


def declare(settings: Settings, **values: Any) -> None:
    """Declare attributes of an exposed command."""
    override(settings, EXPOSED_COMMANDS={"plain_probe": values})


def test_only_runs_that_ended_longer_ago_than_the_limit_are_deleted() -> None:
    old, young, newest = ended(31), ended(29), ended(1)
    assert prune() == {"runs of probe": 1}
    assert [is_there(run) for run in (old, young, newest)] == [False, True, True]


def test_a_run_that_was_queued_long_ago_but_ended_recently_is_kept() -> None:
    late = ended(40, finished_at=timezone.now() - timedelta(days=2))
    ended(1)
    assert prune() == {}
    assert is_there(late)


def test_a_job_keeps_its_newest_runs_however_old_they_are(settings: Settings) -> None:
    override(settings, KEEP_RUNS=3)
    runs = [ended(days, status=Status.SKIPPED) for days in (90, 80, 70, 60, 50)]
    assert prune() == {"runs of probe": 2}
    assert list(Run.objects.order_by("queued_at")) == runs[2:]


def test_runs_at_the_same_time_as_the_oldest_that_is_kept_are_kept_too() -> None:
    time = timezone.now() - timedelta(days=50)
    for _ in range(3):
        ended(0, queued_at=time, finished_at=time, status=Status.SKIPPED)
    assert prune() == {}


def test_each_job_keeps_its_own_newest_runs() -> None:
    rare = ended(90, job="rare", status=Status.SKIPPED)
    ended(50)
    ended(40)
    assert prune() == {"runs of probe": 1}
    assert is_there(rare)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_run_that_has_not_ended_is_kept(status: Status) -> None:
    live = ended(90, status=status, finished_at=None)
    ended(1)
    assert prune() == {}
    assert is_there(live)


@pytest.mark.parametrize(
    "status", [Status.MISSED, Status.SKIPPED, Status.EXPIRED, Status.CANCELLED, Status.SENT]
)
def test_runs_of_every_final_state_are_deleted(status: Status) -> None:
    ended(90, status=status)
    ended(1)
    assert prune() == {"runs of probe": 1}


def test_a_job_keeps_its_last_success_and_its_last_failure() -> None:
    old_success, success = ended(99), ended(90)
    old_failure, failure = ended(80, status=Status.LOST), ended(70, status=Status.TIMED_OUT)
    ended(1, status=Status.SKIPPED)
    assert prune() == {"runs of probe": 2}
    there = [is_there(run) for run in (old_success, success, old_failure, failure)]
    assert there == [False, True, False, True]


def test_each_schedule_keeps_its_last_success_and_its_last_failure() -> None:
    mine, other = schedule(), schedule("other")
    old = ended(91, schedule=mine)
    success, failure = ended(90, schedule=mine), ended(80, schedule=mine, status=Status.FAILED)
    ended(2, schedule=other)
    ended(1, schedule=other, status=Status.FAILED)
    assert prune() == {"runs of probe": 1}
    assert [is_there(run) for run in (old, success, failure)] == [False, True, True]


def test_failures_are_only_looked_for_if_there_are_some() -> None:
    """Of a job that has never failed, this would read all runs."""
    made = schedule()
    for days in (91, 90, 1):
        ended(days, schedule=made)
    with CaptureQueriesContext(connection) as queries:
        assert prune() == {"runs of probe": 2}
    assert [each["sql"] for each in queries if "timed_out" in each["sql"]] == []
    ended(89, schedule=made, status=Status.TIMED_OUT)
    with CaptureQueriesContext(connection) as queries:
        assert prune() == {}
    assert sum("timed_out" in each["sql"] for each in queries) == 1


def test_a_backfills_run_is_as_old_as_it_is_and_not_as_its_slot() -> None:
    ended(1)
    run = ended(2, trigger=Trigger.BACKFILL, scheduled_for=timezone.now() - timedelta(days=90))
    assert prune() == {}
    assert is_there(run)


def test_a_backfills_run_is_not_the_last_success_of_a_schedule() -> None:
    mine = schedule()
    success = ended(90, schedule=mine)
    ended(80, schedule=mine, trigger=Trigger.BACKFILL)
    ended(1)
    assert prune() == {"runs of probe": 1}
    assert is_there(success)


def test_the_runs_that_a_pause_after_failures_counts_are_kept() -> None:
    made = schedule()
    SchedulePolicy.objects.filter(pk=made.pk).update(pause_after_failures=3)
    failures = [ended(days, schedule=made, status=Status.FAILED) for days in (90, 80, 70, 60)]
    ended(1)
    assert prune() == {"runs of probe": 1}
    assert [is_there(run) for run in failures] == [False, True, True, True]


@pytest.mark.parametrize("days", [None, 36_000])
def test_without_a_limit_all_runs_are_kept(settings: Settings, days: float | None) -> None:
    override(settings, KEEP_DAYS=days)
    ended(5000)
    ended(1)
    assert prune() == {}


def test_a_job_may_keep_its_runs_longer_or_for_a_shorter_time(settings: Settings) -> None:
    declare(settings, keep_for=timedelta(days=100))
    ended(90, job="plain_probe")
    ended(1, job="plain_probe")
    assert prune() == {}
    declare(settings, keep_for=timedelta(days=7))
    ended(8, job="plain_probe")
    assert prune() == {"runs of plain_probe": 2}


def test_a_job_may_keep_its_runs_forever(settings: Settings) -> None:
    declare(settings, keep_for=timedelta.max)
    ended(5000, job="plain_probe")
    ended(1, job="plain_probe")
    assert prune() == {}


def test_a_job_may_keep_more_of_its_runs(settings: Settings) -> None:
    declare(settings, keep_runs=2)
    for days in (90, 80, 70):
        ended(days, job="plain_probe")
    assert prune() == {"runs of plain_probe": 1}


@pytest.mark.parametrize("declared", [{"keep_for": 400}, {"keep_runs": 0}, {"keep_for": timedelta(0)}])
def test_a_job_whose_declaration_makes_no_sense_keeps_everything(
    settings: Settings, declared: dict[str, Any]
) -> None:
    declare(settings, **declared)
    ended(5000, job="plain_probe")
    ended(1, job="plain_probe")
    assert prune() == {}


def test_runs_of_jobs_that_no_longer_exist_are_deleted_like_others() -> None:
    ended(90, job="gone")
    ended(80, job="gone")
    assert prune() == {"runs of gone": 1}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL scans small tables whatever there is")
def test_every_query_uses_an_index_and_none_sorts_all_runs() -> None:
    made = schedule()
    SchedulePolicy.objects.filter(pk=made.pk).update(pause_after_failures=3)
    for days in (90, 80, 1):
        ended(days, schedule=made, status=Status.FAILED)
    with CaptureQueriesContext(connection) as queries:
        prune()
        ledger_size.last_pruned()
        ledger_size.oldest_run()
    read = [each["sql"] for each in queries if 'FROM "jobledger_run"' in each["sql"]]
    plans = {sql: plan_of(sql) for sql in read if sql.startswith("SELECT")}
    assert len(plans) > 6
    for sql, plan in plans.items():
        assert "INDEX" in plan, sql
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, sql
        assert "run_by_status" not in plan, sql


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(str(row[3]) for row in cursor.fetchall())
