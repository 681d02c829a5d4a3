"""``jobledger import_schedules`` prints what changes, and what is wrong."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask

from jobledger.models import AuditEntry, Calendar
from tests.unit.builders import output_of
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db

FILE = """\
jobledger_schedules: 1
schedules:
  mine:
    job: probe
    cron: 0 5 * * *
    timezone: UTC
    description: new
  other:
    job: probe
    every: 2 hours
    anchor: '2026-03-01T00:00:00+00:00'
"""
DIFF = """\
delete gone
change mine
  - cron: "0 * * * *"
  + cron: "0 5 * * *"
  + description: "new"
add other
  + job: "probe"
  + every: "2 hours"
  + anchor: "2026-03-01T00:00:00+00:00"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "schedules.yaml"
    path.write_text(FILE)
    return str(path)


def run(*arguments: str) -> tuple[str, str]:
    """Stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    call_command("jobledger", "import_schedules", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_changes_are_printed_and_the_second_time_there_are_none(file: str) -> None:
    hourly("mine")
    hourly("gone")
    planned = run(file, "--dry-run", "--prune")
    assert planned == (DIFF, "1 added, 1 changed, 1 deleted. Nothing was stored (--dry-run).\n")
    assert PeriodicTask.objects.count() == 2
    assert run(file, "--prune", "--yes") == (DIFF, "1 added, 1 changed, 1 deleted.\n")
    assert run(file, "--prune") == ("", "2 unchanged.\n")
    assert {name for (name,) in AuditEntry.objects.values_list("object_name")} == {"gone", "mine", "other"}


@pytest.mark.parametrize("content", [FILE, "jobledger_schedules: 1\nschedules:\n"])
def test_schedules_are_deleted_only_after_a_confirmation(
    file: str, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(file).write_text(content)
    for name in ("gone", "also"):
        hourly(name)
    what = r"2 schedules not in the file \(also, gone\)"
    unconfirmed = rf"^This would delete {what}; nothing was imported\. Confirm that with --yes$"
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(CommandError, match=unconfirmed):
        run(file, "--prune")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    answers = iter(["", "n", "y"])
    monkeypatch.setattr("builtins.input", lambda: next(answers))
    for _ in range(2):
        with pytest.raises(CommandError, match=r"^nothing was imported$"):
            run(file, "--prune")
    assert PeriodicTask.objects.count() == 2
    _, stderr = run(file, "--prune")
    assert stderr.startswith("Delete 2 schedules not in the file (also, gone)? [y/N] ")
    assert not PeriodicTask.objects.filter(name__in=["gone", "also"]).exists()


def test_without_prune_other_schedules_are_kept(file: str) -> None:
    hourly("gone")
    assert run(file)[1] == "2 added, 1 not in the file, and kept.\n"


def test_an_export_is_imported_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("json", "yaml"):
        text = output_of("jobledger", "export_schedules", "--format", kind)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert run("-")[1] == "The file contains no schedules.\n"


def test_what_is_wrong_is_listed_and_nothing_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "schedules.yaml"
    path.write_text(FILE.replace("0 5 * * *", "0 25 * * *").replace("2 hours", "soon"))
    err = io.StringIO()
    with pytest.raises(CommandError, match=r"Nothing was imported\. Correct the file\."):
        call_command("jobledger", "import_schedules", str(path), stderr=err)
    lines = err.getvalue().splitlines()
    assert lines[0].startswith("line 5, schedules.mine.cron: hour: ")
    assert lines[1].startswith("line 10, schedules.other.every: 'soon' is not an interval")
    assert not PeriodicTask.objects.exists()


def test_an_unknown_key_is_listed_too(tmp_path: Path) -> None:
    path = tmp_path / "schedules.yaml"
    path.write_text(FILE.replace("cron:", "crom:"))
    err = io.StringIO()
    with pytest.raises(CommandError, match=r"Nothing was imported\. Correct the file\."):
        call_command("jobledger", "import_schedules", str(path), stderr=err)
    assert "crom" in err.getvalue()
    assert "cron" in err.getvalue()


def test_changes_can_be_printed_as_json(file: str) -> None:
    found: Any = json.loads(run(file, "--json")[0])
    assert [each["schedule"] for each in found] == ["mine", "other"]
    assert found[1]["changes"][1] == {"key": "every", "old": "", "new": '"2 hours"'}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xff\xfe", "it is not in UTF-8"),
        (b" " * (32 * 1024 * 1024 + 1), "it is longer than 33,554,432 bytes"),
        (None, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "schedules.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match=problem):
        run(str(path))


def test_calendars_are_printed_counted_and_confirmed_on_their_own(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Calendar.objects.create(name="old", entries="sun")
    Path(file).write_text(
        'jobledger_schedules: 1\ncalendars:\n  new:\n    entries: ["sat # free"]\nschedules:\n'
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(CommandError, match=r"This would delete 1 calendar not in the file \(old\); nothing"):
        run(file, "--prune")
    out, err = run(file, "--prune", "--yes")
    assert out == 'add calendar new\n  + entries: ["sat # free"]\ndelete calendar old\n'
    assert err == "The file contains no schedules. Calendars: 1 added, 1 deleted.\n"
    assert json.loads(run(file, "--json")[0])[0]["calendar"] == "new"


def test_what_an_imported_expression_means_is_noted_where_many_think_otherwise(file: str) -> None:
    Path(file).write_text(FILE.replace("0 5 * * *", "'*/120 * * * fri-mon'"))
    _, notes = run(file)
    assert "Note: mine (*/120 * * * fri-mon): */120 is not every 120 minutes" in notes
    assert "Note: mine (*/120 * * * fri-mon): the range fri-mon wraps around" in notes
    _, again = run(file)
    assert "Note:" not in again
