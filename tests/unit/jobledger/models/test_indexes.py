"""What most runs have in common is not in PostgreSQL's indexes, and all other runs are found by them."""

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models import Q, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import jobledger
from jobledger.jobs import registry
from jobledger.models import FAILURES, LIVE, OPEN, PROBLEMS, Run, Status, Trigger
from jobledger.runs import attempts
from jobledger.runs.execution import claims
from jobledger.runs.outcome import SUCCESS
from jobledger.runs.publishing import publisher
from jobledger.schedules.due.backlog import in_backlog
from tests.unit.jobledger.models.test_run import plan_of

pytestmark = pytest.mark.django_db
IS_POSTGRESQL = connection.vendor == "postgresql"
# An index that begins with an overlap key has a condition on the status, which no such query states plainly.
INDEXED = {index.fields[0].lstrip("-") for index in Run._meta.indexes} - {"concurrency_key"}
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
    if IS_POSTGRESQL:
        # Of an empty table, it might read this one as well, according to its version; it is rolled back.
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX run_newest_first")
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


def test_the_queued_runs_of_a_schedule_are_found_by_an_index_of_their_own() -> None:
    """If none was queued when the table was analyzed, PostgreSQL takes all indexes of those for equal."""
    waiting = in_backlog().filter(schedule=1)
    if IS_POSTGRESQL:
        # It is only those that have nothing but queued runs that matter; this is rolled back.
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX run_by_schedule, run_newest_first")
    plan = plan_of(waiting)
    assert "run_in_backlog" in plan
    assert "run_to_publish" not in plan
    sql = str(waiting.query).partition(" WHERE ")[2]
    assert "finished_at" not in sql, "the condition of the index on the time of publishing"
    assert not re.search(r'"status" (=|IN)', sql)


@pytest.mark.parametrize(
    ("index", "queued"),
    [
        ("run_to_publish", Run.objects.to_publish().order_by("publish_after")),
        ("run_to_expire", Run.objects.to_expire().order_by("start_before")),
    ],
)
def test_the_next_queued_run_is_found_in_the_order_of_its_time(index: str, queued: QuerySet[Run]) -> None:
    plan = plan_of(queued[:1])
    assert index in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan
    # PostgreSQL would also consider to sort all that have the status, and might take those for none.
    assert not re.search(r'"status" (=|IN)', str(queued.query))


def test_marks_of_published_runs_look_for_them_by_their_ids(django_assert_num_queries: Any) -> None:
    queued = Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=timezone.now())
    with django_assert_num_queries(1) as queries:
        publisher.mark_published([queued])
    (sql,) = (each["sql"] for each in queries)
    condition = sql.partition(" WHERE ")[2]
    assert 'COALESCE("jobledger_run"."publish_after"' in condition
    assert not re.search(r'"publish_after" =', condition)
    assert Run.objects.get().publish_count == 1


@pytest.mark.skipif(not IS_POSTGRESQL, reason="SQLite's indexes have all runs")
def test_a_run_that_has_succeeded_is_not_looked_for_in_the_index() -> None:
    for common in Q(status=Status.SUCCEEDED), Q(trigger=Trigger.SCHEDULE), Q(status__in=Status.values):
        plan = plan_of(Run.objects.filter(common).order_by("-queued_at", "-pk")[:50])
        assert "run_newest_first" in plan
        assert "Sort" not in plan


def test_a_run_is_claimed_and_ended_by_its_id_and_not_looked_for_among_those_of_its_status_or_job() -> None:
    """PostgreSQL expects no queued run if there was none when the table was analyzed, and reads all.

    So it does with a job that had no runs then, even if it has thousands now.
    """
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
        assert not re.search(rf'"jobledger_run"."({"|".join(INDEXED)})" (=|IN)', condition)


def test_no_run_is_looked_for_by_its_id_and_another_column_that_has_an_index() -> None:
    found = [
        f"{path.name}:{function.lineno} {function.name}"
        for path in Path(jobledger.__file__).parent.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef) and _looks_by_id_and_more(function)
    ]
    assert found == []


@pytest.mark.parametrize(
    "body",
    [
        "Run.objects.filter(pk=pk, status=QUEUED)",
        "Run.objects.filter(pk__in=pks).filter(status__in=LIVE)",
        "Run.objects.filter(Q(status=QUEUED), pk=pk)",
        "Run.objects.filter(AWAITS_RESULT, pk=pk)",
        "queued, now = Run.objects.filter(status=QUEUED), 0; queued.filter(pk=pk).update()",
        "Run.objects.filter(status=QUEUED).bulk_update(rows)",
        "Run.objects.filter(pk=pk, job=job)",
        "Run.objects.startable_run(pk, now).filter(job=job)",
        "Run.objects.in_state(QUEUED).filter(pk=pk).filter(Q(trigger__in=TRIGGERS))",
        "Run.objects.get(pk=pk, schedule_id=schedule)",
    ],
)
def test_such_a_statement_is_found_however_it_is_composed(body: str) -> None:
    assert _looks_by_id_and_more(ast.parse(body))


def _looks_by_id_and_more(code: ast.AST) -> bool:
    """Whether a queryset that the code composes has conditions on the id and on an indexed column."""
    variables: dict[str, set[str]] = {}
    for node in ast.walk(code):
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node.targets[0], node.value):
                if isinstance(target, ast.Name):
                    variables[target.id] = _conditions(value, variables)
    calls = (node for node in ast.walk(code) if isinstance(node, ast.Call))
    found = (_conditions(call, variables) for call in calls)
    return any("pk" in each and each & INDEXED for each in found)


def _pairs(target: ast.expr, value: ast.expr) -> Iterable[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return zip(target.elts, value.elts, strict=False)
    return [(target, value)]


def _conditions(expression: ast.AST, variables: Mapping[str, set[str]]) -> set[str]:
    """The columns in the conditions of a queryset, without those of ``exclude``, which no index serves."""
    if isinstance(expression, ast.Name):
        return variables.get(expression.id, set())
    if not (isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute)):
        return set()
    found = set(_conditions(expression.func.value, variables))
    if expression.func.attr in ("bulk_update", "startable_run"):
        found.add("pk")
    if expression.func.attr in ("filter", "get"):
        parts = list(ast.walk(expression))
        columns = (str(each.arg).partition("__")[0] for each in parts if isinstance(each, ast.keyword))
        found |= {column.removesuffix("_id") for column in columns}
        if any(isinstance(each, ast.Name) and each.id in ("AWAITS_RESULT", "OPEN") for each in parts):
            found.add("status")
    return found
