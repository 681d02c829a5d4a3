"""``jobledger setup`` prepares a database, and does nothing the second time."""

import io
import stat
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs.declaration import Calendars, Schedule
from jobledger.models import Calendar
from tests.unit.builders import override

pytestmark = pytest.mark.django_db


def setup(*arguments: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "setup", *arguments, stdout=stdout)
    return stdout.getvalue()


def test_the_admin_account_has_a_random_password_that_is_kept_private(tmp_path: Path) -> None:
    kept = tmp_path / "new folder" / "admin_password"
    output = setup("--admin", f"--admin-password-file={kept}")
    password = kept.read_text().strip()
    assert f"Admin account: admin / {password}" in output
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert get_user_model().objects.get(username="admin").check_password(password)


def test_running_it_again_changes_and_prints_nothing(tmp_path: Path) -> None:
    kept = tmp_path / "admin_password"
    setup("--admin", f"--admin-password-file={kept}")
    before = kept.read_text()
    assert setup("--admin", f"--admin-password-file={kept}") == ""
    assert kept.read_text() == before


def test_no_account_is_created_if_there_is_a_superuser() -> None:
    get_user_model().objects.create_superuser("ann")
    setup("--admin")
    assert get_user_model().objects.count() == 1


def test_an_account_is_created_only_on_request() -> None:
    assert "Admin account" not in setup()
    assert not get_user_model().objects.exists()


def test_without_a_file_for_its_password_there_is_no_account(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"^--admin-password-file: .*: File exists$"):
        setup("--admin", f"--admin-password-file={tmp_path / 'file' / 'admin_password'}")
    assert not get_user_model().objects.exists()


@pytest.mark.parametrize("option", ["--admin-username=ann", "--admin-password-file=x"])
def test_options_of_the_account_need_the_one_that_creates_it(option: str) -> None:
    with pytest.raises(CommandError, match="need --admin"):
        setup(option)


def test_the_account_can_have_another_name() -> None:
    assert "Admin account: ann / " in setup("--admin", "--admin-username=ann")
    assert get_user_model().objects.get().is_superuser


def test_the_default_schedules_are_created() -> None:
    output = setup()
    assert "Created schedule nightly\n" in output
    assert PeriodicTask.objects.filter(name="hello", enabled=True).exists()


def test_the_groups_are_created() -> None:
    assert "Created group Job viewers\n" in setup()
    assert Group.objects.count() == 3


def test_a_bad_declaration_is_a_message(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"plain_probe": {"schedules": [Schedule("often")]}})
    with pytest.raises(
        CommandError, match="schedule 'plain_probe' of job plain_probe: cron: the expression has 1 field"
    ):
        setup()


def test_a_calendar_that_only_the_admin_can_add_does_not_keep_the_admin_from_being_prepared(
    settings: Settings,
) -> None:
    declared = Schedule("0 3 * * *", calendars=Calendars(not_on=["Bank holidays"]))
    override(settings, EXPOSED_COMMANDS={"plain_probe": {"schedules": [declared]}})
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "setup", "--admin", stdout=stdout, stderr=stderr)
    assert "Admin account: admin / " in stdout.getvalue()
    assert "there is no calendar 'Bank holidays'" in stderr.getvalue()
    assert not PeriodicTask.objects.exists()

    Calendar.objects.create(name="Bank holidays", entries="12-25")
    assert "Created schedule plain_probe\n" in setup()


def test_stored_schedules_that_start_nothing_are_named() -> None:
    setup()
    PeriodicTask.objects.filter(name="hello").update(task="tasks_app.gone")
    stderr = io.StringIO()
    call_command("jobledger", "setup", stdout=io.StringIO(), stderr=stderr)
    assert (
        "The schedule 'hello' is broken: task: there is no job or task named 'tasks_app.gone'"
        in stderr.getvalue()
    )
