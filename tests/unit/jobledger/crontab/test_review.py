"""What becomes of lines whose command has schedules already, and of the comments above lines."""

import io
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django_celery_beat.models import PeriodicTask

from jobledger.schedules import stored_schedules
from jobledger.schedules.stored_times import CronTimes
from tests.unit.jobledger.admin.schedules.schedules import unreadable
from tests.unit.jobledger.schedules.stock import stock_cron

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

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


def test_an_edited_schedule_stays_its_lines_when_another_line_of_its_command_is_added(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    edit("probe")
    printed = imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert stored() == {"probe": "0 6 * * *", "probe (0 4 * * * UTC)": "0 4 * * *"}
    edited = "that was made of it, and was edited since (every day at 06:00 UTC)"
    assert f"line 1 is not imported as the schedule “probe”: {edited}" in printed
    assert "1 new schedule, 1 schedule that differs and is kept" in printed


def test_an_edited_schedule_stays_its_lines_when_the_other_line_of_its_command_is_removed(
    tmp_path: Path,
) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    edit("probe (0 3 * * * UTC)")
    before = stored()
    printed = imported(tmp_path, f"0 3 * * * {PROBE}")
    assert stored() == before
    assert "not imported as the schedule “probe (0 3 * * * UTC)”: that was made of it, and was" in printed


@pytest.mark.parametrize(
    "changes",
    [{"name": "mine"}, {"kwargs": '{"level": 3}'}, {"task": "probes.lasting"}, {"task": "another.task"}],
)
def test_an_edited_schedule_stays_its_lines_whatever_was_edited(
    tmp_path: Path, changes: dict[str, str]
) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE} --level 2")
    edit("probe --level 2")
    PeriodicTask.objects.update(**changes)
    before = stored()
    printed = imported(tmp_path, f"00 3 * * * {PROBE} --level=2")
    assert stored() == before
    assert "1 schedule that differs and is kept. Nothing was stored." in printed


def test_a_line_that_was_changed_is_not_imported_beside_the_schedule_that_it_was(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    printed = imported(tmp_path, f"0 4 * * * {PROBE}")
    assert stored() == {"probe": "0 3 * * *"}
    assert "line 1 is not imported as the schedule “probe”: one of this name is different" in printed


def test_of_several_lines_of_unknown_origin_none_comes_back_under_another_name(tmp_path: Path) -> None:
    stock_cron("0 6 * * *", "probe")
    printed = imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert stored() == {"probe": "0 6 * * *"}
    assert "2 schedules that differ and are kept" in printed


@pytest.mark.parametrize("zone", ["Etc/UTC", "UCT", "Etc/Universal", "GMT", "Etc/Greenwich"])
def test_a_line_in_utc_by_another_name_is_the_same(tmp_path: Path, zone: str) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    printed = imported(tmp_path, f"CRON_TZ={zone}", f"0 3 * * * {PROBE}", "CRON_TZ=UTC", f"0 3 * * * {PROBE}")
    assert "line 2 is already the schedule “probe”" in printed
    assert "line 4 is part of the schedule “probe”" in printed
    edit("probe")
    assert "that was made of it" in imported(tmp_path, f"CRON_TZ={zone}", f"0 3 * * * {PROBE}")


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


@pytest.mark.parametrize("days", ["7", '"7"'])
def test_a_schedule_with_the_same_options_in_other_types_is_the_same(tmp_path: Path, days: str) -> None:
    stock_cron("0 3 * * *", "mine", task="tasks_app.cleanup_tokens", kwargs=f'{{"days": {days}}}')
    printed = imported(tmp_path, "0 3 * * * /srv/manage.py cleanup_tokens --days 7")
    assert "line 1 is already the schedule “mine”" in printed


def test_secrets_in_a_comment_are_masked_in_the_description(tmp_path: Path) -> None:
    imported(tmp_path, "# as before: probe --api-key=hunter2222", f"0 3 * * * {PROBE}")
    assert PeriodicTask.objects.get(name="probe").description == "as before: probe --api-key=********"


def test_a_changed_time_limit_is_reported_and_not_imported(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * timeout 600 {PROBE}")
    printed = imported(tmp_path, f"0 3 * * * timeout 1200 {PROBE}")
    limits = "time limit “10 min, then 30 s to clean up”, here “20 min, then 30 s to clean up”"
    advice = "importing leaves its limits, so edit it if the line is right"
    assert f"line 1 is already the schedule “probe”: {advice}: {limits}\n" in printed
    assert PeriodicTask.objects.get(name="probe").policy.time_limit == timedelta(minutes=10)


def test_a_removed_time_limit_and_a_changed_lock_are_reported(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * timeout 600 flock /l {PROBE}")
    printed = imported(tmp_path, f"0 3 * * * flock -n /l {PROBE}")
    limits = "time limit “10 min, then 30 s to clean up”, here “none”, overlap rule “wait until it has"
    assert limits in printed


@pytest.mark.parametrize(
    ("duration", "is_warned_of"), [("1e-9", True), ("0.5", True), ("1", False), ("0", False)]
)
def test_a_time_limit_below_a_second_is_warned_of(tmp_path: Path, duration: str, is_warned_of: bool) -> None:
    printed = imported(tmp_path, f"0 3 * * * timeout {duration} {PROBE}")
    assert ("which is less than a second" in printed) == is_warned_of


@pytest.mark.parametrize(
    ("command", "is_noted"),
    [
        (f"timeout 600 {PROBE} --wait", True),
        (f"timeout 600 {PROBE}", False),
        (f"{PROBE} --wait", False),
        (f"timeout 600 flock -n /l {PROBE} --wait", False),
    ],
)
def test_a_time_limit_that_includes_the_wait_of_the_job_is_noted(
    tmp_path: Path, command: str, is_noted: bool
) -> None:
    note = "`timeout` also counts the wait for the previous run; here, the limit counts from the start"
    assert (note in imported(tmp_path, f"0 3 * * * {command}")) == is_noted


def test_a_lock_that_means_what_the_job_does_anyway_is_no_difference(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    assert "line 1 is already the schedule “probe”\n" in imported(tmp_path, f"0 3 * * * flock -n /l {PROBE}")


def test_lines_that_differ_only_in_their_limits_do_not_mean_the_same(tmp_path: Path) -> None:
    printed = imported(tmp_path, f"0 3 * * * {PROBE}", f"0 3 * * * timeout 600 {PROBE}")
    limits = "time limit “none”, here “10 min, then 30 s to clean up”"
    assert f"it starts the same as line 1, whose limits the schedule has: {limits}; cron runs" in printed
    assert "means the same" not in printed


def test_a_time_that_is_too_long_for_a_name_is_replaced_by_a_number(tmp_path: Path) -> None:
    every_minute = f"{','.join(map(str, range(60)))} {','.join(map(str, range(24)))} * * *"
    imported(tmp_path, f"0 3 * * * {PROBE}", f"{every_minute} {PROBE}", f"{every_minute[2:]} {PROBE}")
    assert sorted(stored()) == ["probe", "probe #2", "probe (0 3 * * * UTC)"]


def test_a_schedule_that_cannot_be_read_does_not_keep_others_from_being_imported(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    unreadable(PeriodicTask.objects.get(name="probe"))
    printed = imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE} --level 2")
    assert "line 1 is not imported as the schedule “probe”: " in printed
    assert "line 2 becomes the schedule “probe --level 2”" in printed
