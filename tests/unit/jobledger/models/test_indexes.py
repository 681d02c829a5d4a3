"""What most runs have in common is not in PostgreSQL's indexes, and all other runs are found by them."""

import ast
import re
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Q, QuerySet
from django.test.utils import CaptureQueriesContext

import jobledger
from jobledger.jobs import registry
from jobledger.models import FAILURES, LIVE, OPEN, PROBLEMS, Run, Status, Trigger
from jobledger.runs import attempts
from jobledger.runs.execution import claims
from jobledger.runs.outcome import SUCCESS
from tests.unit.jobledger.models.test_run import plan_of

pytestmark = pytest.mark.django_db
IS_POSTGRESQL = connection.vendor == "postgresql"
DEFINITION = (
    "SELECT indexdef FROM pg_indexes WHERE indexname = %s"
    if IS_POSTGRESQL
    else "SELECT sql FROM sqlite_master WHERE name = %s"
)


def newest(**conditions: object) -> QuerySet[Run]:
    return Run.objects.filter(**conditions).order_by("-queued_at")


FOUND = {
    "running": ("run_by_status", newest(status=Status.RUNNING)),
    "live": ("run_by_status", newest(status__in=LIVE)),
    "open": ("run_by_status", Run.objects.filter(OPEN)),
    "failed": ("run_by_status", newest(status__in=FAILURES)),
    "problems": ("run_by_status", newest(status__in=PROBLEMS)),
    "of the API": ("run_by_trigger", newest(trigger=Trigger.API)),
    "backfilled": ("run_by_trigger", newest(trigger__in=[Trigger.BACKFILL, Trigger.ADMIN])),
}


@pytest.mark.parametrize("name", FOUND)
def test_runs_that_are_in_an_index_are_found_by_it(name: str) -> None:
    index, runs = FOUND[name]
    assert index in plan_of(runs)


@pytest.mark.parametrize(
    ("index", "left_out"), [("run_by_status", "succeeded"), ("run_by_trigger", "schedule")]
)
def test_only_postgresql_leaves_out_what_most_runs_have_in_common(index: str, left_out: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(DEFINITION, [index])
        (definition,) = cursor.fetchone()
    assert ("WHERE" in definition) is IS_POSTGRESQL
    assert (f"'{left_out}'" in definition) is IS_POSTGRESQL


@pytest.mark.skipif(not IS_POSTGRESQL, reason="SQLite's indexes have all runs")
def test_a_run_that_has_succeeded_is_not_looked_for_in_the_index() -> None:
    for common in Q(status=Status.SUCCEEDED), Q(trigger=Trigger.SCHEDULE), Q(status__in=Status.values):
        plan = plan_of(Run.objects.filter(common).order_by("-queued_at", "-pk")[:50])
        assert "run_newest_first" in plan
        assert "Sort" not in plan


def test_a_run_is_claimed_and_ended_by_its_id_and_not_looked_for_among_those_of_its_status() -> None:
    """PostgreSQL expects no queued run if there was none when the table was analyzed, and reads all."""
    queued = Run.objects.create(job="probe", trigger=Trigger.CLI)
    with CaptureQueriesContext(connection) as queries:
        run = claims.claim(queued.pk, worker="w1@host", job=registry.find("probe"))
        assert run is not None
        assert attempts.end(run, SUCCESS)
    updates = [each["sql"] for each in queries if each["sql"].startswith('UPDATE "jobledger_run"')]
    assert len(updates) == 2
    for sql in updates:
        _, _, condition = sql.partition(" WHERE ")
        assert re.search(r'COALESCE\("jobledger_run"."status"', condition)
        assert not re.search(r'"status" (=|IN)', condition)


def test_no_run_is_looked_for_by_its_id_and_a_status_that_has_an_index() -> None:
    found = [
        f"{path.name}:{call.lineno}"
        for path in Path(jobledger.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "filter"
        for names in [{str(keyword.arg).partition("__")[0] for keyword in call.keywords}]
        if {"pk", "status"} <= names
    ]
    assert found == []
