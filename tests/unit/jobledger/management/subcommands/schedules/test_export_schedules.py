"""``jobledger export_schedules`` writes all schedules to a file."""

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from jobledger.models import AlertRule, SchedulePolicy
from tests.unit.builders import output_of
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db

NIGHTLY = """\
jobledger_schedules: 1
schedules:
  nightly:
    job: probe
    cron: 0 * * * *
    timezone: UTC
"""


def test_schedules_are_printed_as_yaml_by_default() -> None:
    hourly("nightly")
    assert output_of("jobledger", "export_schedules") == NIGHTLY


def test_json_is_chosen_by_the_option_or_by_the_files_name(tmp_path: Path) -> None:
    hourly("nightly")
    expected = {"nightly": {"job": "probe", "cron": "0 * * * *", "timezone": "UTC"}}
    assert json.loads(output_of("jobledger", "export_schedules", "--format", "json"))["schedules"] == expected
    path = tmp_path / "schedules.JSON"
    assert output_of("jobledger", "export_schedules", str(path)) == ""
    assert json.loads(path.read_text())["schedules"] == expected
    output_of("jobledger", "export_schedules", str(tmp_path / "schedules.yaml"))
    assert (tmp_path / "schedules.yaml").read_text() == NIGHTLY


def test_one_that_is_not_valid_is_named_and_fails_the_export() -> None:
    hourly("nightly")
    hourly("broken", kwargs="[")
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match=r"Not all schedules were exported\."):
        call_command("jobledger", "export_schedules", stdout=out, stderr=err)
    assert out.getvalue() == NIGHTLY
    assert "“broken” is not exported: its kwargs are not a valid JSON object" in err.getvalue()


@pytest.mark.parametrize(
    "calendars", ["not JSON", "[1]", '{"not_on": 5}', '{"not_on": [1]}', '{"not_on": [["x"]]}']
)
def test_a_policy_whose_calendars_cannot_be_read_stops_no_export(calendars: str) -> None:
    SchedulePolicy.objects.filter(schedule=hourly("nightly")).update(calendars=calendars)
    assert output_of("jobledger", "export_schedules") == NIGHTLY


def test_a_rule_that_cannot_be_exported_is_named() -> None:
    hourly("nightly")
    rule = AlertRule.objects.create(name="odd", schedule=hourly("odd"))
    AlertRule.objects.filter(pk=rule.pk).update(kinds="failed")
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match=r"Not all schedules were exported\."):
        call_command("jobledger", "export_schedules", stdout=out, stderr=err)
    assert out.getvalue() == NIGHTLY
    why = 'its kinds cannot be exported: "failed" is stored, which is not a JSON array, such as []'
    assert f"“odd” is not exported: {why}" in err.getvalue()


@pytest.mark.one_database
def test_a_policy_that_cannot_be_read_is_named() -> None:
    hourly("nightly")
    odd = hourly("odd")
    with connection.cursor() as cursor:
        # SQLite has texts in any column.
        cursor.execute(
            "UPDATE jobledger_schedulepolicy SET jitter = 'a while' WHERE schedule_id = %s", [odd.pk]
        )
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match=r"Not all schedules were exported\."):
        call_command("jobledger", "export_schedules", stdout=out, stderr=err)
    assert out.getvalue() == NIGHTLY
    assert "“odd” is not exported: it cannot be read: " in err.getvalue()


def test_a_file_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(CommandError, match=r"/nowhere/x\.yaml: No such file or directory"):
        output_of("jobledger", "export_schedules", "/nowhere/x.yaml")
