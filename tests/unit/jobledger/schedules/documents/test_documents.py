"""Documents have all that users can set of a schedule, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.alerts.rules import RuleForm
from jobledger.admin.schedules.editing.forms import DetailsForm
from jobledger.admin.schedules.editing.policy_form import PolicyForm
from jobledger.jobs.secrets import MASK
from jobledger.models import SchedulePolicy
from jobledger.schedules.documents import (
    NotRepresentableError,
    all_documents,
    complete_document_of,
    document_of,
)
from jobledger.schedules.documents.keys import KEYS, RULE_KEYS
from tests.unit.jobledger.admin.schedules.schedules import unreadable
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db


def document(schedule: PeriodicTask) -> Any:
    return complete_document_of(PeriodicTask.objects.get(pk=schedule.pk))


def test_every_field_of_the_edit_form_is_a_key() -> None:
    """``name`` is the key of the document itself."""
    fields = {*DetailsForm.Meta.fields, *PolicyForm.Meta.fields} - {"name"}
    assert fields <= KEYS.keys()
    assert set(RuleForm.Meta.fields) - {"name", "job", "schedule"} == RULE_KEYS.keys()


def test_defaults_are_left_out() -> None:
    assert document(hourly()) == {"job": "probe", "cron": "0 * * * *", "timezone": "UTC"}


def test_values_are_written_as_users_write_them() -> None:
    schedule = hourly(
        task="billing.send", args="[1]", start_time=NOON, enabled=False, priority=0, description=" a\r\nb "
    )
    policy = {"misfire": "all", "jitter": timedelta(minutes=90), "starting_deadline": timedelta(seconds=1.5)}
    SchedulePolicy.objects.filter(schedule=schedule).update(**policy)
    assert document(schedule) == {
        "task": "billing.send",
        "args": [1],
        "cron": "0 * * * *",
        "timezone": "UTC",
        "enabled": False,
        "description": "a\nb",
        "start_time": "2026-03-02T12:00:00+00:00",
        "priority": 0,
        "misfire": "all",
        "starting_deadline": "0:00:01.500000",
        "jitter": "1 h 30 min",
    }


def test_an_interval_says_what_it_counts_from_unless_that_is_its_start() -> None:
    schedule = every(1)
    assert (document(schedule)["every"], document(schedule)["anchor"]) == (
        "1 second",
        "2026-03-01T12:00:00+00:00",
    )
    PeriodicTask.objects.update(start_time=NOON)
    assert "anchor" not in document(schedule)


def test_secrets_are_masked() -> None:
    schedule = hourly(
        task="probes.choosing",
        kwargs='{"api_key": "s3cret", "pin": null}',
        headers='{"auth_token": "s3cret"}',
    )
    SchedulePolicy.objects.update(ping_url="https://hc-ping.com/s3cret")
    found = document(schedule)
    assert "s3cret" not in str(found)
    assert found["options"] == {"api_key": MASK, "pin": None}
    assert (found["headers"], found["ping_url"]) == ({"auth_token": MASK}, MASK)


def test_an_unsaved_schedule_has_a_document() -> None:
    schedule = hourly()
    changed = PeriodicTask(name="x", task="probes.probe", crontab=schedule.crontab)
    assert document_of(changed, SchedulePolicy()) == document(schedule)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"kwargs": "[]"}, "its kwargs are not a valid JSON object"),
        ({"kwargs": "{"}, "its kwargs are not a valid JSON object"),
        ({"args": "{}"}, "its args are not a valid JSON array"),
        ({"headers": "[1]"}, "its message headers are not valid: this is not a JSON object"),
    ],
)
def test_what_is_not_valid_has_no_document(values: dict[str, Any], why: str) -> None:
    schedule = hourly(**values)
    with pytest.raises(NotRepresentableError, match=why):
        document(schedule)


def test_one_that_is_not_valid_does_not_affect_the_others() -> None:
    hourly("fine")
    unreadable(hourly("broken"))
    found = dict(all_documents(PeriodicTask.objects.all()))
    assert str(found["broken"]) == "it cannot be read: Invalid timezone 'Mars/Olympus'"
    assert found["fine"] == {"job": "probe", "cron": "0 * * * *", "timezone": "UTC"}


def test_schedules_are_sorted_by_code_point_and_read_in_batches(
    django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobledger.schedules.documents._BATCH_SIZE", 2)
    for name in ("b", "B", "é", "a", "_"):
        hourly(name)
    with django_assert_max_num_queries(2 + 3 * 4):
        names = [name for name, _ in all_documents(PeriodicTask.objects.all())]
    assert names == ["B", "_", "a", "b", "é"]
