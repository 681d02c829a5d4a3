"""What most runs have in common is not in PostgreSQL's indexes, and all other runs are found by them."""

import pytest
from django.db import connection
from django.db.models import Q, QuerySet

from jobledger.models import FAILURES, LIVE, OPEN, PROBLEMS, Run, Status, Trigger
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
