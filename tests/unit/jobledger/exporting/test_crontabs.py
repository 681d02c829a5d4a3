"""``export_crontab`` prints a crontab, which means the same when it is imported again."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import call_command
from django_celery_beat.models import PeriodicTask
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from jobledger.models import SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.rules.cron_expression import parse
from jobledger.schedules.stored_times import (
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)
from proj.state import BASE_DIR
from tests.unit.jobledger.admin.schedules.schedules import unreadable

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

MANAGE = str(BASE_DIR / "manage.py")
COMMAND = f"{sys.executable} {MANAGE}"
# argparse takes "--" for a separator, also as the value of an option.
TEXTS = st.text(st.sampled_from("ab '\"\\%$`;&|<>#~*=\u00e9\u20ac-"), max_size=12).filter("--".__ne__)
EXPRESSIONS = st.sampled_from(
    [
        "0 3 * * *",
        "*/7 2-6/2 1,15 * mon-fri",
        "5 4 * * sun",
        "@weekly",
        "0 0 1-7 jan,jul *",
        "0 22 * * fri-mon",
    ]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"])


@pytest.fixture(autouse=True)
def called_by_manage_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [MANAGE])
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "proj.settings")


def cron(expression: str = "0 3 * * *", zone: str = "UTC") -> CronTimes:
    return CronTimes(expression=expression, zone=ZoneInfo(zone))


def schedule(name: str, times: StoredTimes | None = None, **values: Any) -> PeriodicTask:
    options = values.pop("options", {})
    made = PeriodicTask(**{"name": name, "task": "probes.probe", "kwargs": json.dumps(options), **values})
    stored_schedules.assign(made, times or cron())
    made.save()
    return made


def exported() -> tuple[str, str]:
    """What is printed on stdout and on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "export_crontab", stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def lines() -> list[str]:
    return [line for line in exported()[0].splitlines() if line and not line.startswith("#")]


def meanings() -> set[tuple[str, str, str]]:
    return {
        (each.kwargs, parse(times.expression).canonical, str(times.zone))
        for each in PeriodicTask.objects.filter(task="probes.probe")
        if isinstance(times := stored_schedules.of(each), CronTimes)
    }


def test_a_schedule_becomes_a_line() -> None:
    schedule("Every night", cron("0 3 * * mon-fri", "Europe/Berlin"), options={"words": ["a b"], "level": 2})
    assert exported()[0] == (
        "# Exported by `manage.py jobledger export_crontab`.\n"
        "\nCRON_TZ=Europe/Berlin\n# Every night\n"
        f"0 3 * * 1-5 {COMMAND} probe --level=2 'a b'\n"
    )


@hypothesis_settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=15,
    deadline=None,
)
@given(st.lists(st.tuples(EXPRESSIONS, ZONES, st.lists(TEXTS, max_size=2), TEXTS), min_size=1, max_size=4))
@example([("0 3 * * *", "UTC", ["a\\%b", "\\\\%", "%\\'%", "'\\%"], "\\%")])
def test_an_export_that_is_imported_again_gives_the_same_schedules(
    wanted: list[tuple[str, str, list[str], str]],
) -> None:
    PeriodicTask.objects.all().delete()
    for number, (expression, zone, words, warn) in enumerate(wanted):
        options = {name: value for name, value in (("words", words), ("warn", warn)) if value}
        schedule(f"number {number}", cron(expression, zone), options=options)
    before, (text, _) = meanings(), exported()
    PeriodicTask.objects.all().delete()
    imported(text)
    assert meanings() == before


def test_options_that_no_command_line_has_are_reported() -> None:
    schedule("dashes", cron("0 3 * * *"), options={"warn": "--"})
    text, remarks = exported()
    assert "probe" not in text
    assert "“dashes” is not exported" in remarks


def imported(text: str) -> None:
    stdin, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(text.encode()))
    try:
        call_command("jobledger", "import_crontab", "-", stdout=io.StringIO(), stderr=io.StringIO())
    finally:
        sys.stdin = stdin


def test_a_disabled_schedule_is_a_comment() -> None:
    schedule("off", enabled=False)
    text, _ = exported()
    assert f"\n# off\n#disabled# 0 3 * * * {COMMAND} probe\n" in text
    assert lines() == ["CRON_TZ=UTC"]


@pytest.mark.parametrize(
    ("every", "period", "anchor", "expression"),
    [
        (15, "minutes", datetime(2026, 3, 1, 12, 0, tzinfo=UTC), "*/15 * * * *"),
        (15, "minutes", datetime(2026, 3, 1, 12, 7, tzinfo=UTC), "7-59/15 * * * *"),
        (1, "minutes", datetime(2026, 3, 1, 12, 7, tzinfo=UTC), "* * * * *"),
        (3600, "seconds", datetime(2026, 3, 1, 12, 7, tzinfo=UTC), "7 * * * *"),
        (1, "days", datetime(2026, 3, 1, 12, 7, tzinfo=UTC), "7 12 * * *"),
    ],
)
def test_an_interval_that_fits_is_exported(
    every: int, period: str, anchor: datetime, expression: str
) -> None:
    made = schedule("x", IntervalTimes(every=every, period=period))
    SchedulePolicy.objects.filter(schedule=made).update(anchor=anchor)
    assert lines() == ["CRON_TZ=UTC", f"{expression} {COMMAND} probe"]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (IntervalTimes(every=7, period="minutes"), "neither a day nor a part of an hour"),
        (IntervalTimes(every=90, period="seconds"), "neither a day nor a part of an hour"),
        (IntervalTimes(every=30, period="seconds"), "does not fall on whole minutes"),
        (SolarTimes(event="sunrise", latitude=52, longitude=13), "sunrise is at another time every day"),  # type: ignore[arg-type]
        (ClockedTimes(at=datetime(2030, 1, 1, tzinfo=UTC)), "runs only once"),
        (cron("0 3 L * *"), "cron knows neither L nor #"),
        (cron("0 3 * * mon#2"), "cron knows neither L nor #"),
    ],
)
def test_what_cron_cannot_express_is_listed(times: StoredTimes, reason: str) -> None:
    made = schedule("odd", times)
    SchedulePolicy.objects.filter(schedule=made).update(anchor=datetime(2026, 3, 1, tzinfo=UTC))
    text, stderr = exported()
    assert "odd" not in text
    assert "“odd” is not exported: " in stderr
    assert reason in stderr


def test_an_ordinary_task_is_listed() -> None:
    PeriodicTask.objects.create(name="task", task="other.task", crontab=schedule("x").crontab)
    assert "“task” is not exported: it starts the Celery task other.task" in exported()[1]


def test_a_schedule_that_cannot_be_read_is_listed_and_others_are_exported() -> None:
    schedule("mine")
    unreadable(schedule("broken", enabled=False))
    stdout, stderr = exported()
    assert "# mine\n" in stdout
    assert "“broken” is not exported: Invalid timezone 'Mars/Olympus'" in stderr


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "x" * 1000])
def test_an_option_that_no_line_can_hold_is_listed(text: str) -> None:
    schedule("odd", options={"warn": text})
    assert "“odd” is not exported: " in exported()[1]


def test_what_a_line_loses_is_listed() -> None:
    made = schedule("mine", expires=datetime(2030, 1, 1, tzinfo=UTC))
    changes = {"jitter": timedelta(minutes=5), "misfire": "all", "starting_deadline": timedelta(hours=1)}
    SchedulePolicy.objects.filter(schedule=made).update(**changes)
    (said,) = [line for line in exported()[1].splitlines() if "loses" in line]
    for lost in "expires at 2030", "its start deadline", "each of several missed runs", "its jitter":
        assert lost in said


@pytest.mark.parametrize(
    ("concurrency", "option"), [("queue", " --wait"), ("allow", " --allow-overlap"), ("forbid", ""), ("", "")]
)
def test_the_overlap_rule_of_a_schedule_becomes_an_option(concurrency: str, option: str) -> None:
    made = schedule("mine")
    SchedulePolicy.objects.filter(schedule=made).update(concurrency=concurrency)
    assert lines()[1] == f"0 3 * * * {COMMAND} probe{option}"


@pytest.mark.parametrize(
    ("policy", "prefix"),
    [
        ((600, None), "timeout -k 30 600 "),
        ((0.5, 90), "timeout -k 90 0.5 "),
        ((600, 0), "timeout -s KILL 600 "),
        ((None, None), ""),
    ],
)
def test_the_time_limit_of_a_schedule_becomes_a_timeout_and_one_again(
    policy: tuple[float | None, float | None], prefix: str, tmp_path: Path
) -> None:
    made = schedule("probe")
    limit, grace = (None if each is None else timedelta(seconds=each) for each in policy)
    SchedulePolicy.objects.filter(schedule=made).update(time_limit=limit, time_limit_grace=grace)
    assert lines()[1] == f"0 3 * * * {prefix}{COMMAND} probe"
    file = tmp_path / "crontab"
    file.write_text(exported()[0])
    PeriodicTask.objects.all().delete()
    call_command("jobledger", "import_crontab", str(file), stdout=io.StringIO(), stderr=io.StringIO())
    found = SchedulePolicy.objects.get(schedule__name="probe")
    assert (found.time_limit, found.time_limit_grace) == (limit, grace)


@pytest.mark.parametrize(
    ("policy", "lost"),
    [
        ({"time_limit": timedelta(hours=1)}, "its time limit (1 h): the job's own holds (5 s)"),
        ({"time_limit_grace": timedelta(hours=1)}, "its time to clean up (1 h)"),
    ],
)
def test_a_limit_that_the_job_itself_would_not_keep_is_listed(policy: dict[str, Any], lost: str) -> None:
    made = schedule("mine", task="probes.limited")
    SchedulePolicy.objects.filter(schedule=made).update(**policy)
    printed, said = exported()
    assert "timeout" not in printed
    assert lost in said


@pytest.mark.parametrize("policy", ["time_limit", "time_limit_grace"])
def test_the_limits_of_a_function_are_not_those_of_the_call_that_only_queues_it(policy: str) -> None:
    made = schedule("mine", task="tests.probes.tasks.retried")
    assert exported()[1].splitlines()[0] == "“mine” loses that a missed run is caught up"
    SchedulePolicy.objects.filter(schedule=made).update(**{policy: timedelta(minutes=1)})
    printed, said = exported()
    assert f"\n0 3 * * * {COMMAND} jobledger call probes:retried\n" in printed
    assert "its limits: those of the function hold" in said


@pytest.mark.parametrize(
    ("concurrency", "limit", "is_listed"), [("queue", 600, True), ("queue", None, False), ("", 600, False)]
)
def test_a_time_limit_that_includes_the_wait_for_the_previous_run_is_listed(
    concurrency: str, limit: int | None, is_listed: bool
) -> None:
    made, length = schedule("mine"), timedelta(seconds=limit) if limit else None
    SchedulePolicy.objects.filter(schedule=made).update(concurrency=concurrency, time_limit=length)
    assert ("that its time limit does not include the wait" in exported()[1]) == is_listed


def test_settings_other_than_those_of_manage_py_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    schedule("mine")
    assert lines()[0] == "DJANGO_SETTINGS_MODULE=tests.settings"


def test_zones_that_debians_cron_would_ignore_are_named() -> None:
    PeriodicTask.objects.all().delete()
    assert "CRON_TZ" not in exported()[1]
    schedule("one", cron(zone="Europe/Berlin"))
    schedule("other")
    assert "ignores CRON_TZ: the machine's time zone must be Europe/Berlin, UTC there" in exported()[1]
