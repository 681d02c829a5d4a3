"""The newest runs of a job or a schedule are found in the index that has them in order."""

import pytest
from django.db import connection
from django.db.models import QuerySet

from jobledger.models import FAILURES, Run, Status
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

NEWEST = {
    "run_by_job": lambda: Run.objects.newest_of_job("probe"),
    "run_by_schedule": lambda: Run.objects.newest_of_schedule(1),
}


def plan_of(query: QuerySet[Run]) -> str:
    sql, values = query.query.sql_with_params()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # It would read a small table whole.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {sql}", values)
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


@pytest.mark.parametrize("index", NEWEST)
def test_the_index_is_read_in_order(index: str) -> None:
    for query in NEWEST[index](), NEWEST[index]().that_ended(*FAILURES):
        plan = plan_of(query[:1])
        assert index in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


def test_only_runs_with_one_of_the_statuses_are_found() -> None:
    for status in (Status.SUCCEEDED, Status.FAILED, Status.LOST):
        Run.objects.create(job="probe", trigger="cli", status=status, queued_at=NOON)
    Run.objects.create(job="other", trigger="cli", status=Status.FAILED)
    found = Run.objects.newest_of_job("probe").that_ended(*FAILURES)
    assert {run.status for run in found} == {Status.FAILED, Status.LOST}


def test_what_changes_while_a_run_is_executed_is_stored_last() -> None:
    """PostgreSQL logs an updated row from its first changed column to its last."""
    with connection.cursor() as cursor:
        stored = [
            each.name for each in connection.introspection.get_table_description(cursor, "jobledger_run")
        ]
    beats = {"heartbeat_at", "progress_done", "progress_total", "peak_memory_bytes", "cpu_seconds"}
    begins = {
        "concurrency_key",
        "worker",
        "worker_identity",
        "publish_after",
        "started_at",
        "reason",
        "status",
    }
    ends = {"finished_at", "exit_code", "exit_signal", "error", "traceback", "return_value", "left_behind"}
    assert set(stored[-len(ends) :]) == ends
    assert set(stored[-len(ends | beats) : -len(ends)]) == beats
    assert begins < set(stored[-len(ends | beats | begins) - 2 : -len(ends | beats)])
