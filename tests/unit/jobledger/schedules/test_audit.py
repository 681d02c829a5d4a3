"""What is changed from the command line is in the audit log, as what is changed in the admin is."""

import io
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs.declaration import Schedule
from jobledger.models import AuditEntry, DeclaredSchedule
from jobledger.schedules import audit
from jobledger.schedules.declared.sync import reset, resolve, sync
from tests.unit.jobledger.schedules.declared.builders import JOB, applied, declare, stored
from tests.unit.jobledger.schedules.stock import stock_cron

pytestmark = pytest.mark.django_db

PROBE = "/srv/app/manage.py probe"


@pytest.fixture(autouse=True)
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "operating_system_user", lambda: "ann")


def entries(name: str = JOB) -> list[tuple[str, str, list[list[str]]]]:
    """The verb, the text and the changes of each."""
    found = AuditEntry.objects.filter(object_name=name).order_by("pk")
    assert {entry.username for entry in found} <= {"ann (command line)"}
    return [(entry.verb, entry.text, entry.changes) for entry in found]


def imported(tmp_path: Path, *lines: str) -> None:
    file, output = tmp_path / "crontab", io.StringIO()
    file.write_text("".join(f"{line}\n" for line in lines))
    call_command("jobledger", "import_crontab", str(file), stdout=output, stderr=output)


# What sync does


def test_a_schedule_that_sync_creates_is_there_with_its_values(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *", description="Ask ann.", options={"call_job": True}))
    ((verb, text, changes),) = entries()
    assert (verb, text) == ("added", "Added as declared in code.")
    assert {name: new for name, _, new in changes} == {
        "Name": JOB,
        "Job": JOB,
        "Options": '{"call_job": true}',
        "Timing": "0 3 * * *",
        "Time zone": "UTC",
        "Enabled": "yes",
        "Description": "Ask ann.",
        "Missed runs": "run once for all of them",
        "Catch-up limit": "100",
        "Runs that calendars leave out": "skip them",
        "If the previous run is still running": "use the job's setting",
    }


def test_what_sync_changes_is_there_with_the_old_and_the_new_value(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    applied(settings, Schedule("0 4 * * *", queue="slow"))
    changes = [["Timing", "0 3 * * *", "0 4 * * *"], ["Queue", "", "slow"]]
    assert entries()[1:] == [("changed", "Changed Timing, Queue as declared in code.", changes)]


def test_what_sync_changes_can_be_brought_back(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    applied(settings, Schedule("0 4 * * *", queue="slow"))
    applied(settings)
    added, changed, disabled = AuditEntry.objects.filter(object_name=JOB).order_by("pk")
    assert added.before is None
    assert added.after == changed.before
    assert changed.after == disabled.before == {**(added.after or {}), "cron": "0 4 * * *", "queue": "slow"}
    assert disabled.after == {**(changed.after or {}), "enabled": False}


def test_what_sync_leaves_alone_is_not(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    sync()
    declare(settings, Schedule("0 4 * * *"))
    sync(dry_run=True)
    assert len(entries()) == 1


def test_that_sync_disables_a_schedule_and_enables_it_again_is_there(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    applied(settings)
    applied(settings, Schedule("0 3 * * *"))
    assert entries()[1:] == [
        ("changed", "Changed Enabled since the code no longer declares it.", [["Enabled", "yes", "no"]]),
        ("changed", "Changed Enabled as declared in code.", [["Enabled", "no", "yes"]]),
    ]


def test_what_a_reset_takes_back_is_there(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    PeriodicTask.objects.filter(name=JOB).update(queue="slow")
    reset(JOB)
    assert entries()[1:] == [("changed", "Changed Queue as declared in code.", [["Queue", "slow", ""]])]


def test_what_a_user_takes_back_is_left_to_the_admin(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *"))
    PeriodicTask.objects.filter(name=JOB).update(queue="slow")
    resolve(DeclaredSchedule.objects.get(name=JOB).pk, "queue", is_code_right=True)
    assert len(entries()) == 1


# Imported crontabs


def test_an_imported_schedule_its_rule_and_its_destination_are_there(tmp_path: Path) -> None:
    imported(tmp_path, "MAILTO=a@example.com", f"0 3 * * * timeout 600 {PROBE} --level 2")
    ((verb, text, changes),) = entries("probe --level 2")
    assert (verb, text) == ("added", "Added from line 2 of a crontab.")
    values = {name: new for name, _, new in changes}
    assert (values["Name"], values["Options"], values["Time limit"]) == (
        "probe --level 2",
        '{"level": 2}',
        "10 min",
    )
    rule = "MAILTO of probe --level 2"
    assert entries(rule) == [
        (
            "added",
            "Added from line 2 of a crontab.",
            [["Name", "", rule], ["Runs of", "", "probe --level 2"], ["Destinations", "", "a@example.com"]],
        )
    ]
    assert entries("a@example.com") == [
        (
            "added",
            "Added from line 2 of a crontab.",
            [["Name", "", "a@example.com"], ["Kind", "", "mail"], ["Address", "", "a@example.com"]],
        )
    ]


def test_importing_again_adds_no_entry(tmp_path: Path) -> None:
    stock_cron("0 4 * * *", "old")
    lines = (f"0 3 * * * {PROBE} a", f"0 4 * * * {PROBE}")
    imported(tmp_path, *lines)
    imported(tmp_path, *lines)
    assert AuditEntry.objects.count() == 1


def test_the_history_of_a_schedule_shows_it(settings: Settings, admin_client: Client) -> None:
    applied(settings, Schedule("0 3 * * *"))
    url = reverse("admin:django_celery_beat_periodictask_history", args=[stored().pk])
    page = admin_client.get(url).text
    assert "ann (command line)" in page


def test_secrets_are_masked(tmp_path: Path) -> None:
    imported(tmp_path, "0 3 * * * /srv/app/manage.py talking --api-key hunter2222")
    ((_, _, changes),) = entries(PeriodicTask.objects.get().name)
    assert ["Options", "", '{"api_key": "********"}'] in changes
    assert "hunter" not in str(changes)
