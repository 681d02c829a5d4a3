"""A compiled statement does what Django would do with the same values."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.db.models import CharField, DateTimeField, F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext

from jobledger import compiled
from jobledger.compiled import Given
from jobledger.models import Run, RunOutput, Status, Stream, Trigger
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
CHANGES = {"error": "50% of it's lost: %s", "options": {"words": ["a"]}, "finished_at": NOON, "exit_code": 2}
ROW = {"attempt": 1, "number": 0, "stream": Stream.STDERR, "text": "a\nb", "written_at": NOON}


def _change() -> tuple[Any, dict[str, Given]]:
    queued = Run.objects.filter(pk=Given.of(Run, "id"), status=Status.QUEUED)
    return queued, {name: Given.of(Run, name) for name in CHANGES}


change, change_one = compiled.Update(Run, _change), compiled.UpdateOne(Run, _change)
is_there = compiled.Exists(Run, lambda: Run.objects.filter(pk=Given.of(Run, "id")))
insert = compiled.Insert(RunOutput, "run_id", *ROW)


def made(**values: Any) -> Run:
    return Run.objects.create(job="probe", trigger=Trigger.CLI, **values)


def sql_of(sent: CaptureQueriesContext) -> str:
    """Without the parentheses around expressions, which Django leaves out around values."""
    (query,) = sent.captured_queries
    return str(query["sql"]).replace("(", "").replace(")", "")


def test_an_update_is_the_one_that_django_sends() -> None:
    run = made()
    with CaptureQueriesContext(connection) as ours:
        change.execute(id=run.pk, **CHANGES)
    with CaptureQueriesContext(connection) as djangos:
        Run.objects.filter(pk=run.pk, status=Status.QUEUED).update(**CHANGES)
    assert sql_of(ours) == sql_of(djangos)


def test_a_query_for_existence_is_the_one_that_django_sends() -> None:
    run = made()
    with CaptureQueriesContext(connection) as ours:
        is_there.execute(id=run.pk)
    with CaptureQueriesContext(connection) as djangos:
        Run.objects.filter(pk=run.pk).exists()
    assert sql_of(ours) == sql_of(djangos)


def test_an_update_tells_how_many_rows_have_changed() -> None:
    run = made(error="none")
    assert [change.execute(id=pk, **CHANGES) for pk in (run.pk, uuid.uuid4())] == [1, 0]
    run.refresh_from_db()
    assert {name: getattr(run, name) for name in CHANGES} == CHANGES


def test_a_changed_row_is_returned_as_it_is_then() -> None:
    run = made(username="ann", scheduled_for=NOON)
    found = change_one.row(id=run.pk, **CHANGES)
    assert {**vars(found), "_state": None} == {**vars(Run.objects.get(pk=run.pk)), "_state": None}


def test_no_row_is_returned_if_none_has_changed() -> None:
    assert change_one.row(id=uuid.uuid4(), **CHANGES) is None


def test_none_is_null() -> None:
    run = made(exit_code=1)
    change.execute(id=run.pk, **{**CHANGES, "exit_code": None})
    run.refresh_from_db()
    assert run.exit_code is None


def test_existence_is_told() -> None:
    run = made()
    assert [is_there.execute(id=pk) for pk in (run.pk, uuid.uuid4())] == [True, False]


def test_an_inserted_row_is_there_and_another_one_like_it_is_not() -> None:
    run = made()
    for text in "a\nb", "c":
        insert.execute(run_id=run.pk, **{**ROW, "text": text})
    assert list(run.output.values(*ROW)) == [ROW]


@pytest.mark.django_db(transaction=True)
def test_a_row_that_refers_to_nothing_is_an_error() -> None:
    with pytest.raises(IntegrityError):
        insert.execute(run_id=uuid.uuid4(), **ROW)


def test_a_value_may_be_an_expression_and_be_used_twice() -> None:
    run, time = made(start_after=NOON - HOUR), Given("time", DateTimeField())

    def update() -> tuple[Any, dict[str, Any]]:
        return Run.objects.filter(start_after__lte=time), {"finished_at": time, "heartbeat_at": time}

    statement = compiled.Update(Run, update)
    later = Value(NOON, output_field=DateTimeField())
    assert [statement.execute(time=each) for each in (NOON - 2 * HOUR, later)] == [0, 1]
    run.refresh_from_db()
    assert (run.finished_at, run.heartbeat_at) == (NOON, NOON)


def test_values_may_be_combined_with_columns() -> None:
    run = made()
    text = Concat(F("job"), Value(" %s "), Given("name", CharField()))
    compiled.Update(Run, lambda: (Run.objects.all(), {"error": text})).execute(name="ann")
    run.refresh_from_db()
    assert run.error == "probe %s ann"


def test_it_is_compiled_once() -> None:
    compilations: list[datetime] = []

    def rows() -> Any:
        compilations.append(NOON)
        return Run.objects.filter(error=Given.of(Run, "error"))

    statement = compiled.Exists(Run, rows)
    made(error="a")
    assert [statement.execute(error=error) for error in "abc"] == [True, False, False]
    assert len(compilations) == 1


def test_a_value_that_is_not_given_is_an_error() -> None:
    with pytest.raises(KeyError, match="error"):
        change.execute(id=made().pk)
