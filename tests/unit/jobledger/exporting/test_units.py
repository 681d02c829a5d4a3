"""``export_systemd`` writes units that systemd accepts, and that start the same at the same times."""

import io
import json
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobledger.exporting import units
from jobledger.exporting.schedules import Export, NotExpressibleError
from jobledger.models import SchedulePolicy
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import slots_between
from jobledger.schedules.stored_times import (
    ClockedTimes,
    CronTimes,
    SolarTimes,
)
from tests.requirements import systemd_or_skip
from tests.unit.jobledger.exporting.test_crontabs import MANAGE, cron, schedule

BEGIN = datetime(2026, 2, 25, tzinfo=UTC)
SLOTS = 12
NUMBERS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 28), "month": (1, 12), "weekday": (0, 7)}


def fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number, st.integers(1, 9)).map(lambda each: (*sorted(each[:2]), each[2]))
    term = st.one_of(
        number.map(str),
        spans.map(lambda each: f"{each[0]}-{each[1]}"),
        spans.map(lambda each: f"{each[0]}-{each[1]}/{each[2]}"),
        st.integers(1, high).map("*/{}".format),
        st.just("*"),
    )
    return st.one_of(st.just("*"), term, st.lists(number.map(str), min_size=2, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(*(fields(*NUMBERS[name]) for name in NUMBERS)).map(" ".join)


@pytest.fixture(autouse=True)
def called_by_manage_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [MANAGE])
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "proj.settings")


def export(times: CronTimes | ClockedTimes, name: str = "x", *arguments: str, **values: Any) -> Export:
    wanted: dict[str, Any] = {"enabled": True, "catches_up": True, "jitter": timedelta(0), "notes": ()}
    wanted |= {"time_limit": None, "grace": timedelta(0)}
    return Export(name=name, arguments=["probe", *arguments], times=times, **{**wanted, **values})


def elapses(expressions: list[str]) -> list[datetime]:
    """The next times of ``OnCalendar=`` with these values."""
    systemd_or_skip()
    base = f"--base-time={BEGIN:%Y-%m-%d %H:%M:%S} UTC"
    command = ["systemd-analyze", "calendar", base, f"--iterations={SLOTS}", *expressions]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC"})
    found = re.findall(r"(?:elapse|Iter\. #\d+): \w+ ([\d-]+ [\d:]+) UTC", done.stdout)
    return sorted({datetime.fromisoformat(each).replace(tzinfo=UTC) for each in found})[:SLOTS]


def due(expression: str, zone: str = "UTC") -> list[datetime]:
    rule = Cron(expression=expression, zone=ZoneInfo(zone))
    return list(slots_between(rule, BEGIN, datetime(2100, 1, 1, tzinfo=UTC), limit=SLOTS))


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)
@given(EXPRESSIONS)
@example("0 */9 * * *")
def test_a_timer_elapses_when_cron_would_start_the_job(expression: str) -> None:
    assert elapses(list(units.calendar(export(cron(expression))))) == due(expression)


@pytest.mark.parametrize(
    ("expression", "calendar"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00 Europe/Berlin"]),
        ("*/5 * * * mon-fri", ["Mon,Tue,Wed,Thu,Fri *-*-* *:00..59/5:00 Europe/Berlin"]),
        ("0 3 13 * fri", ["*-*-13 03:00:00 Europe/Berlin", "Fri *-*-* 03:00:00 Europe/Berlin"]),
        ("0 3 L * *", ["*-*~01 03:00:00 Europe/Berlin"]),
        ("0 3 * jan mon#2", ["Mon *-01-08..14 03:00:00 Europe/Berlin"]),
        ("0 3 * * 5L", ["Fri *-*~07/1 03:00:00 Europe/Berlin"]),
    ],
)
def test_an_expression_in_a_zone(expression: str, calendar: list[str]) -> None:
    assert list(units.calendar(export(cron(expression, "Europe/Berlin")))) == calendar
    assert elapses(calendar) == due(expression, "Europe/Berlin")


def test_a_single_time() -> None:
    at = datetime(2030, 1, 2, 3, 4, 5, tzinfo=ZoneInfo("Europe/Berlin"))
    assert list(units.calendar(export(ClockedTimes(at=at)))) == ["2030-01-02 02:04:05 UTC"]


def test_the_last_weekday_of_a_month_cannot_be_expressed() -> None:
    with pytest.raises(NotExpressibleError):
        list(units.calendar(export(cron("0 3 LW * *"))))


def test_names_are_those_of_the_schedules_and_unique() -> None:
    named = [export(cron(), name) for name in ("probe --level 2", "Probe: level 2!", "\u20ac", "job")]
    assert units.names(named) == ["job-probe-level-2", "job-probe-level-2-2", "job-schedule", "job-job"]


# As files


def exported(folder: Path) -> str:
    """What is said on stderr."""
    stderr = io.StringIO()
    call_command("jobledger", "export_systemd", str(folder), stdout=io.StringIO(), stderr=stderr)
    return stderr.getvalue()


@pytest.mark.django_db
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    systemd_or_skip()
    schedule("Every night: 100% \\ of $HOME", cron("0 3 13 * fri", "Europe/Berlin"))
    made = schedule(
        "odd", options={"words": ["a b", "50%", "$HOME", '"', "'", "\\", ";", "", "\n\t", "\u20ac"]}
    )
    SchedulePolicy.objects.filter(schedule=made).update(jitter=timedelta(minutes=5), misfire="skip")
    exported(tmp_path / "new")
    files = sorted(str(path) for path in (tmp_path / "new").iterdir())
    assert len(files) == 4
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "/new/" in line or "job-" in line] == []
    assert done.returncode == 0
    timer = (tmp_path / "new" / "job-odd.timer").read_text()
    assert "Persistent=false\nRandomizedDelaySec=300\nFixedRandomDelay=true\n" in timer


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("seconds", "settings"),
    [
        ((600, None), "TimeoutStartSec=600s\nTimeoutStopSec=30s\n"),
        ((0.5, 90), "TimeoutStartSec=0.5s\nTimeoutStopSec=90s\n"),
        # For systemd, to stop after no time would be to wait forever.
        ((600, 0), "TimeoutStartSec=600s\nTimeoutStartFailureMode=kill\n"),
    ],
)
def test_the_time_limit_of_a_schedule_is_that_of_its_service(
    seconds: tuple[float, float | None], settings: str, tmp_path: Path
) -> None:
    systemd_or_skip()
    limit, grace = (None if each is None else timedelta(seconds=each) for each in seconds)
    made = schedule("mine")
    SchedulePolicy.objects.filter(schedule=made).update(time_limit=limit, time_limit_grace=grace)
    exported(tmp_path)
    service = tmp_path / "job-mine.service"
    assert f"\n{settings}ExecStart=" in service.read_text()
    done = subprocess.run(["systemd-analyze", "verify", service], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if "job-" in line] == []
    assert done.returncode == 0


@pytest.mark.django_db
def test_a_service_starts_the_job_with_its_options(tmp_path: Path) -> None:
    words = ["a b", "50%", "$HOME", '"', "'", "\\", ";", "", "\n\t", "\u20ac"]
    schedule("odd", options={"words": words})
    exported(tmp_path)
    service = (tmp_path / "job-odd.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.*)$", service, flags=re.MULTILINE)
    python, manage, *arguments = as_systemd_reads(line)
    assert [python, manage] == [sys.executable, MANAGE]
    assert arguments[0] == "probe"
    assert arguments[-len(words) :] == words
    assert "\nType=oneshot\n" in service


def as_systemd_reads(line: str) -> list[str]:
    """The words of ``ExecStart=``: quoted words have the escapes of C, which JSON shares."""
    words = re.findall(r'"(?:[^"\\]|\\.)*"|\S+', line)
    read = [json.loads(word) if word.startswith('"') else word for word in words]
    return [word.replace("%%", "%").replace("$$", "$") for word in read]


@pytest.mark.django_db
def test_only_the_user_can_read_the_files(tmp_path: Path) -> None:
    schedule("mine", options={"warn": "x"})
    exported(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.django_db
def test_the_files_are_utf8_in_any_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("io.text_encoding", lambda encoding, *args: encoding or "ascii")
    schedule("Täglich 早")
    exported(tmp_path)
    (timer,) = tmp_path.glob("*.timer")
    assert "Description=Täglich 早" in timer.read_text(encoding="utf-8")


@pytest.mark.django_db
def test_what_systemd_cannot_express_is_listed(tmp_path: Path) -> None:
    schedule("odd", SolarTimes(event="sunset", latitude=52, longitude=13))  # type: ignore[arg-type]
    assert "“odd” is not exported: sunset is at another time every day" in exported(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.django_db
def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(CommandError, match="not empty"):
        exported(tmp_path)
