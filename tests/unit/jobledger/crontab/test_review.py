"""What becomes of lines whose command has schedules already, and of the comments above lines."""

import io
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django_celery_beat.models import PeriodicTask

from jobledger.schedules import stored_schedules
from jobledger.schedules.stored_schedules import CronTimes
from tests.unit.jobledger.schedules.stock import stock_cron

pytestmark = pytest.mark.django_db

PROBE = "/srv/app/manage.py probe"


def imported(tmp_path: Path, *lines: str) -> str:
    """What is printed when a crontab of these lines is imported."""
    (tmp_path / "crontab").write_text("".join(f"{line}\n" for line in lines))
    stdout = io.StringIO()
    call_command("jobledger", "import_crontab", str(tmp_path / "crontab"), stdout=stdout, stderr=stdout)
    return stdout.getvalue()


def stored() -> dict[str, str]:
    """The crontab of each schedule of the probe, by name."""
    schedules = PeriodicTask.objects.filter(task="probes.probe")
    return {each.name: stored_schedules.of(each).expression for each in schedules}  # type: ignore[union-attr]


def edit(name: str) -> None:
    """Let the schedule run at another time, as a user does in the admin."""
    schedule = PeriodicTask.objects.get(name=name)
    stored_schedules.assign(schedule, CronTimes(expression="0 6 * * *", zone=ZoneInfo("UTC")))
    schedule.save()


def test_an_edited_schedule_is_kept_when_another_line_of_its_command_is_added(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    edit("probe")
    printed = imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert stored() == {"probe": "0 6 * * *"}
    assert "line 1 is not imported as the schedule “probe”: one of this name is different" in printed
    assert "2 schedules that differ and are kept" in printed


def test_an_edited_schedule_is_kept_when_the_other_line_of_its_command_is_removed(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    edit("probe (0 3 * * * UTC)")
    before = stored()
    printed = imported(tmp_path, f"0 3 * * * {PROBE}")
    assert stored() == before
    assert "not imported as the schedule “probe (0 3 * * * UTC)”: one of this name is different" in printed


def test_a_line_is_added_beside_a_schedule_of_its_command_that_another_line_means(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert set(stored()) == {"probe", "probe (0 4 * * * UTC)"}


def test_a_line_is_added_beside_two_schedules_that_mean_another_line(tmp_path: Path) -> None:
    stock_cron("0 3 * * *", "another")
    stock_cron("0 3 * * *", "probe")
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert set(stored()) == {"another", "probe", "probe (0 4 * * * UTC)"}


def test_a_schedule_of_another_job_does_not_stand_for_a_line(tmp_path: Path) -> None:
    PeriodicTask.objects.filter(pk=stock_cron("0 5 * * *", "probe").pk).update(task="another.task")
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert set(stored()) == {"probe (0 3 * * * UTC)", "probe (0 4 * * * UTC)"}


def test_secrets_in_a_comment_are_masked_in_the_description(tmp_path: Path) -> None:
    imported(tmp_path, "# as before: probe --api-key=hunter2222", f"0 3 * * * {PROBE}")
    assert PeriodicTask.objects.get(name="probe").description == "as before: probe --api-key=********"
