"""JSON columns are read as what they are for, whatever is stored in them."""

from typing import Any

import pytest
from django.db.models import JSONField, Value

from jobledger.jobs.json_text import problem_with
from jobledger.models import AlertRule, Run, RunOutput, Status, Trigger
from jobledger.models.output import Stream

pytestmark = [pytest.mark.django_db, pytest.mark.every_database]

NULL = Value(None, JSONField())


def read_as(column: str, value: Any) -> Any:
    """What is read of a run in which somebody has written this with SQL."""
    run = Run.objects.create(job="probe", trigger=Trigger.ADMIN)
    Run.objects.filter(pk=run.pk).update(**{column: value})
    return getattr(Run.objects.get(pk=run.pk), column)


@pytest.mark.parametrize("value", [5, "text", True, [1], NULL])
def test_what_is_no_object_is_read_as_an_empty_one_of_which_is_known_what_is_wrong(value: Any) -> None:
    found = read_as("options", value)
    assert found == {}
    assert "which is not a JSON object, such as {}" in problem_with(found)


@pytest.mark.parametrize("value", [5, "text", {"a": 1}, NULL])
def test_what_is_no_list_is_read_as_an_empty_one(value: Any) -> None:
    found = read_as("args", value)
    assert found == []
    assert "which is not a JSON array, such as []" in problem_with(found)


@pytest.mark.parametrize(
    ("column", "value"), [("options", {"a": [1]}), ("args", [{"a": 1}]), ("routing", {})]
)
def test_a_right_value_is_read_as_it_is(column: str, value: Any) -> None:
    found = read_as(column, value)
    assert found == value
    assert problem_with(found) == ""


def test_columns_that_are_read_alone_are_read_alike() -> None:
    read_as("options", [1])
    assert list(Run.objects.values_list("options", flat=True)) == [{}]
    assert list(Run.objects.values("options__0")) == [{"options__0": 1}]


def test_what_cannot_be_read_is_saved_as_it_is() -> None:
    rule = AlertRule.objects.create(name="all")
    AlertRule.objects.filter(pk=rule.pk).update(kinds="failed")
    AlertRule.objects.get(pk=rule.pk).save()
    assert problem_with(AlertRule.objects.get(pk=rule.pk).kinds).startswith('"failed" is stored')


def test_a_state_of_another_version_is_final_and_has_its_own_name() -> None:
    run = Run.objects.create(job="probe", trigger="telepathy", status="reborn")
    assert run.is_over
    assert (Status(run.status).label, Trigger(run.trigger).label) == ("reborn", "telepathy")
    assert "reborn" not in Status.values
    assert not Status(run.status).is_known


def test_the_stream_of_another_version_is_shown_all_the_same() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.ADMIN)
    output = RunOutput.objects.create(run=run, number=0, stream="audio", text="la")
    assert Stream(output.stream) is Stream.STDOUT
