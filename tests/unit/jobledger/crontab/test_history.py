"""Imported schedules have the runs that were recorded while cron was in charge."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django_celery_beat.models import PeriodicTask

from jobledger.models import Run, Status, Trigger
from tests.unit.jobledger.schedules.stock import stock_cron
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db

PROBE = "/srv/manage.py probe"


def observed(at: datetime, *, trigger: str = Trigger.CRON, job: str = "probe", **options: Any) -> Run:
    return Run.objects.create(
        job=job, trigger=trigger, options=options, status=Status.SUCCEEDED, queued_at=at, started_at=at
    )


def imported(tmp_path: Path, *lines: str) -> None:
    file = tmp_path / "crontab"
    file.write_text("".join(f"{line}\n" for line in lines))
    call_command("jobledger", "import_crontab", str(file))


def schedules_of(*runs: Run) -> list[str]:
    for run in runs:
        run.refresh_from_db()
        assert run.schedule_name == (run.schedule.name if run.schedule else "")
    return [run.schedule_name for run in runs]


def test_runs_of_cron_belong_to_the_schedule_of_their_line(tmp_path: Path) -> None:
    mine = observed(utc("2026-03-01 03:00:02"), words=["a"])
    others = [
        observed(utc("2026-03-01 03:00:02"), words=["b"]),
        observed(utc("2026-03-01 03:00:02"), words=["a"], trigger=Trigger.CLI),
        observed(utc("2026-03-01 03:00:02"), words=["a"], job="hello"),
    ]
    imported(tmp_path, f"0 3 * * * manage.py jobledger wrap -- '{PROBE} a'")
    assert schedules_of(mine, *others) == ["probe a", "", "", ""]


def test_runs_and_lines_have_the_same_options_whatever_types_their_values_have(tmp_path: Path) -> None:
    run = observed(utc("2026-03-01 03:00:02"), job="cleanup_tokens", days=7)
    imported(tmp_path, "0 3 * * * /srv/manage.py cleanup_tokens --days 7")
    assert PeriodicTask.objects.get().kwargs == '{"days": "7"}'
    assert schedules_of(run) == ["cleanup_tokens --days 7"]


def test_a_run_belongs_to_its_line_even_if_that_was_edited_since(tmp_path: Path) -> None:
    run = observed(utc("2026-03-01 17:30"))
    imported(tmp_path, f"0 3 * * * {PROBE}")
    assert schedules_of(run) == ["probe"]


def test_lines_with_the_same_command_are_told_apart_by_their_times(tmp_path: Path) -> None:
    at_three = utc("2026-03-01 03:00")
    runs = [
        observed(at_three + timedelta(hours=hours, seconds=seconds)) for hours, seconds in ((0, 1), (2, 70))
    ]
    neither = observed(at_three + timedelta(hours=1))
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 5 * * * {PROBE}")
    assert schedules_of(*runs, neither) == ["probe (0 3 * * * UTC)", "probe (0 5 * * * UTC)", ""]


def test_runs_that_have_a_schedule_keep_it(tmp_path: Path) -> None:
    run = observed(utc("2026-03-01 03:00"))
    imported(tmp_path, f"0 3 * * * {PROBE}")
    imported(tmp_path, f"0 5 * * * {PROBE}")
    assert schedules_of(run) == ["probe"]


def test_lines_that_are_due_a_minute_apart_have_their_own_runs(tmp_path: Path) -> None:
    midnight = utc("2026-03-01 00:00")
    runs = [observed(midnight + timedelta(minutes=number, seconds=1)) for number in range(4)]
    imported(tmp_path, f"*/2 * * * * {PROBE}", f"1-59/2 * * * * {PROBE}")
    even, odd = "probe (*/2 * * * * UTC)", "probe (1-59/2 * * * * UTC)"
    assert schedules_of(*runs) == [even, odd, even, odd]


def test_lines_that_are_due_at_the_same_time_have_a_run_each(tmp_path: Path) -> None:
    three = utc("2026-03-01 03:00")
    runs = [observed(three + timedelta(seconds=seconds)) for seconds in (1, 2)]
    alone = observed(three + timedelta(hours=1))
    imported(tmp_path, f"0 * * * * {PROBE}", f"0 3 * * * {PROBE}")
    every_hour, at_three = "probe (0 * * * * UTC)", "probe (0 3 * * * UTC)"
    assert schedules_of(*runs, alone) == [every_hour, at_three, every_hour]


def test_importing_again_links_the_runs_recorded_since(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    PeriodicTask.objects.filter(name="probe").update(name="mine")
    runs = [observed(utc("2026-03-01 03:00")), observed(utc("2026-03-02 03:00"))]
    imported(tmp_path, f"0 3 * * * {PROBE}")
    assert schedules_of(*runs) == ["mine", "mine"]
    assert (
        "1 schedule that exists. 2 recorded runs of cron now belong to schedules.\n"
        in capsys.readouterr().err
    )


def test_an_edited_schedule_has_the_runs_of_the_line_that_it_was_made_of(tmp_path: Path) -> None:
    imported(tmp_path, f"0 3 * * * {PROBE}")
    PeriodicTask.objects.filter(name="probe").update(name="mine", kwargs='{"level": 3}')
    mine, other = observed(utc("2026-03-01 03:00")), observed(utc("2026-03-01 04:00"))
    imported(tmp_path, f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE}")
    assert schedules_of(mine, other) == ["mine", "probe (0 4 * * * UTC)"]


def test_a_line_that_is_not_imported_leaves_its_runs_to_no_other(tmp_path: Path) -> None:
    stock_cron("0 5 * * *", "probe (0 3 * * * UTC)", kwargs='{"level": 3}')
    runs = [observed(utc("2026-03-01 03:00")), observed(utc("2026-03-01 03:01"))]
    imported(tmp_path, f"0 3 * * * {PROBE}", f"1 3 * * * {PROBE}")
    assert schedules_of(*runs) == ["", "probe (1 3 * * * UTC)"]
