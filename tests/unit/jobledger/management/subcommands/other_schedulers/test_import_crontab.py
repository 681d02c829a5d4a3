"""``jobledger import_crontab`` stores all schedules of a crontab or none, and says what it does."""

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django_celery_beat.models import PeriodicTask

from jobledger.crontab.review import review
from jobledger.management.subcommands.other_schedulers import import_crontab
from jobledger.models import (
    AlertDestination,
    AlertRule,
    DestinationKind,
    NextSlot,
    ScheduleCalendar,
    SchedulePolicy,
)
from jobledger.schedules import stored_schedules
from tests.unit.builders import override
from tests.unit.jobledger.schedules.builders import NOON, limited_by
from tests.unit.jobledger.schedules.stock import stock_cron
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db

PROBE = "/srv/app/manage.py probe"


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def crontab(tmp_path: Path) -> Callable[..., str]:
    def written(*lines: str) -> str:
        file = tmp_path / "crontab"
        file.write_text("".join(f"{line}\n" for line in lines))
        return str(file)

    return written


def imported(file: str, *options: str) -> tuple[str, str]:
    """What it prints on stdout and on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "import_crontab", file, *options, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def stored() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """The crontab, the zone and the options of each schedule of the probe, by name."""
    schedules = PeriodicTask.objects.filter(task="probes.probe").order_by("pk")
    return {
        each.name: (stored_schedules.of(each).expression, str(each.crontab.timezone), json.loads(each.kwargs))  # type: ignore[union-attr]
        for each in schedules
    }


def row_counts() -> list[int]:
    models = (PeriodicTask, SchedulePolicy, NextSlot, AlertRule, AlertDestination)
    return [model._default_manager.count() for model in models]


def test_lines_become_enabled_schedules(crontab: Callable[..., str]) -> None:
    imported(
        crontab("# Every night", f"0 3 * * * {PROBE} a --level 2", "CRON_TZ=Europe/London", f"@daily {PROBE}")
    )
    assert stored() == {
        "probe --level 2 a": ("0 3 * * *", "UTC", {"words": ["a"], "level": 2}),
        "probe": ("0 0 * * *", "Europe/London", {}),
    }
    schedule = PeriodicTask.objects.get(name="probe --level 2 a")
    assert (schedule.enabled, schedule.description) == (True, "Every night")
    assert schedule.next_slot.slot == utc("2026-03-03 03:00")


def test_the_summary_says_which_lines_to_remove(crontab: Callable[..., str]) -> None:
    _, remarks = imported(crontab(f"0 3 * * * {PROBE}", "@daily backup", f"0 4 * * * {PROBE}"), "--tz", "UTC")
    assert remarks == (
        "2 new schedules, 1 line that stays in the crontab. Stored. "
        "Now remove these lines, or cron runs them as well: 1, 3\n"
    )


def test_a_dry_run_stores_nothing_and_prints_the_same(crontab: Callable[..., str]) -> None:
    file, before = crontab("MAILTO=a@example.com", f"0 3 * * * flock -n /l {PROBE}"), row_counts()
    dry, remarks = imported(file, "--dry-run")
    assert row_counts() == before
    assert remarks.endswith("1 new schedule. Nothing was stored (--dry-run).\n")
    assert imported(file)[0] == dry


def test_importing_twice_changes_nothing(crontab: Callable[..., str]) -> None:
    file = crontab(
        "MAILTO=a@example.com",
        f"0 3 * * * {PROBE}",
        f"0 4 * * mon {PROBE}",
        f"@daily flock /l {PROBE} --level 2",
        f"@daily timeout -k 5 90 {PROBE} --level 3",
    )
    imported(file)
    before = row_counts()
    printed, remarks = imported(file)
    assert row_counts() == before
    assert "becomes" not in printed
    assert "4 schedules that exist. Nothing was stored." in remarks


def test_importing_again_keeps_the_calendars_of_a_schedule(crontab: Callable[..., str]) -> None:
    file = crontab(f"0 3 * * * {PROBE}")
    imported(file)
    limited_by(PeriodicTask.objects.get(name="probe"), "sat, sun", moved=True)
    before = SchedulePolicy.objects.values().get(), ScheduleCalendar.objects.values().get()
    assert "1 schedule that exists. Nothing was stored." in imported(file)[1]
    assert (SchedulePolicy.objects.values().get(), ScheduleCalendar.objects.values().get()) == before


def test_a_schedule_with_another_name_or_another_notation_is_the_same(crontab: Callable[..., str]) -> None:
    imported(crontab(f"0 3 * * 1 {PROBE} --level 2"))
    PeriodicTask.objects.filter(name="probe --level 2").update(name="mine", enabled=False)
    printed, _ = imported(crontab(f"00 03 * * mon {PROBE} --level=2"))
    assert printed.startswith("line 1 is already the schedule “mine”: it exists, but it is disabled")
    assert list(stored()) == ["mine"]


def test_lines_with_the_same_times_in_other_notations_are_duplicates(crontab: Callable[..., str]) -> None:
    file = crontab(
        *(f"17 1 * * 7 {PROBE}", f"17 1 * * 0 {PROBE}"),
        *(f"1,3,5 1 * * * {PROBE} a", f"1-5/2 1 * * * {PROBE} a"),
    )
    printed, remarks = imported(file)
    assert list(stored()) == ["probe", "probe a"]
    assert "line 2 is part of the schedule “probe”: it means the same as line 1" in printed
    assert "2 new schedules, 2 duplicates. Stored. " in remarks


def test_a_schedule_of_the_other_scheduler_is_the_same(crontab: Callable[..., str]) -> None:
    stock_cron("0 3 * * *", "old")
    imported(crontab(f"0 3 * * * {PROBE}"))
    assert list(stored()) == ["old"]


def test_a_schedule_that_was_edited_is_kept(crontab: Callable[..., str]) -> None:
    file = crontab(f"0 3 * * * {PROBE}")
    imported(file)
    schedule = PeriodicTask.objects.get(name="probe")
    schedule.kwargs = '{"level": 3}'
    schedule.save()
    printed, remarks = imported(file)
    assert stored() == {"probe": ("0 3 * * *", "UTC", {"level": 3})}
    assert "line 1 is not imported as the schedule “probe”: that was made of it, and was edited" in printed
    assert remarks.endswith(
        "1 schedule that differs and is kept. Nothing was stored. Compare these lines with the schedules of "
        "their names, and keep those in the crontab that no schedule replaces: 1\n"
    )


def test_the_summary_names_a_line_whose_name_is_that_of_another_jobs_schedule(
    crontab: Callable[..., str],
) -> None:
    stock_cron("0 3 * * *", "probe", task="probes.lasting")
    _, remarks = imported(crontab(f"0 3 * * * {PROBE}", f"0 4 * * * {PROBE} a"))
    assert "cron runs them as well: 2 Compare" in remarks
    assert remarks.endswith("that no schedule replaces: 1\n")


def test_with_a_problem_nothing_is_imported(crontab: Callable[..., str]) -> None:
    before = row_counts()
    with pytest.raises(CommandError) as raised:
        imported(crontab(f"0 3 * * * {PROBE}", f"0 25 * * * {PROBE}", f"0 4 * * * www-data {PROBE}"))
    assert str(raised.value) == "Nothing is imported. Correct these lines, or remove them: 2, 3"
    assert row_counts() == before


def test_if_a_schedule_cannot_be_stored_none_is(
    crontab: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, before = crontab(f"0 3 * * * {PROBE} a", f"0 3 * * * {PROBE} b"), row_counts()

    def review_before_another_import(*args: Any) -> Any:
        found = review(*args)
        stock_cron("0 5 * * *", "probe b")
        return found

    monkeypatch.setattr(import_crontab, "review", review_before_another_import)
    with pytest.raises(CommandError, match="Nothing is imported, because schedules have just changed"):
        imported(file)
    assert list(stored()) == ["probe b"]
    assert row_counts()[3:] == before[3:]


@pytest.mark.parametrize(
    ("prefix", "concurrency"),
    [("", ""), ("flock -n /l ", "forbid"), ("flock /l ", "queue"), ("flock -w 5 /l ", "queue")],
)
def test_a_lock_is_the_overlap_rule(crontab: Callable[..., str], prefix: str, concurrency: str) -> None:
    imported(crontab(f"0 3 * * * {prefix}{PROBE}"))
    assert SchedulePolicy.objects.get(schedule__name="probe").concurrency == concurrency


@pytest.mark.parametrize(
    ("job", "prefix", "policy", "line"),
    [
        ("probe", "timeout 600", (600, None), "10 min, then 30 s to clean up"),
        ("probe", "timeout -k 5 600", (600, 5), "10 min, then 5 s to clean up"),
        ("probe", "timeout -k 30 600", (600, None), "10 min, then 30 s to clean up"),
        ("probe", "timeout -s KILL 600", (600, 0), "10 min, then it is killed at once"),
        ("limited", "timeout 1", (1, None), "1 s, then 2 s to clean up, in place of the job's 5 s"),
        ("limited", "timeout 5", (None, None), ""),
        ("limited", "timeout 600", (None, None), ""),
        ("probe", "timeout 0", (None, None), ""),
        ("plain_probe", "timeout 600", (600, None), "10 min, then 30 s to clean up"),
    ],
)
def test_timeout_is_the_time_limit(
    crontab: Callable[..., str],
    job: str,
    prefix: str,
    policy: tuple[float | None, float | None],
    line: str,
) -> None:
    printed, _ = imported(crontab(f"0 3 * * * {prefix} /srv/app/manage.py {job}"))
    found = SchedulePolicy.objects.get(schedule__name=job)
    lengths = (found.time_limit, found.time_limit_grace)
    assert tuple(None if each is None else each.total_seconds() for each in lengths) == policy
    assert "".join(re.findall("    limit    (.*)\n", printed)) == line


def test_a_timeout_that_is_longer_than_the_jobs_own_limit_has_a_warning(crontab: Callable[..., str]) -> None:
    printed, _ = imported(crontab("0 3 * * * timeout 600 /srv/app/manage.py limited"))
    assert "warning  `timeout` ends it after 10 min; the job's own time limit is shorter: 5 s\n" in printed


@pytest.mark.parametrize(("flag", "concurrency"), [("--wait", "queue"), ("--allow-overlap", "allow")])
def test_a_jobs_own_flag_is_the_overlap_rule(
    crontab: Callable[..., str], flag: str, concurrency: str
) -> None:
    imported(crontab(f"0 3 * * * {PROBE} {flag}"))
    assert SchedulePolicy.objects.get(schedule__name="probe").concurrency == concurrency
    assert stored()["probe"][2] == {}


def test_mailto_is_an_alert_rule_of_each_schedule(crontab: Callable[..., str]) -> None:
    imported(
        crontab(
            f"0 1 * * * {PROBE} none",
            "MAILTO=a@example.com",
            f"0 2 * * * {PROBE} one",
            f"0 3 * * * {PROBE} same",
            "MAILTO=b@example.com, a@example.com",
            f"0 4 * * * {PROBE} both",
            'MAILTO=""',
            f"0 5 * * * {PROBE} nobody",
        )
    )
    rules = AlertRule.objects.exclude(schedule=None)
    found = {
        rule.schedule.name: rule.destinations.get().mail_addresses  # type: ignore[union-attr]
        for rule in rules
    }
    assert found == {
        "probe one": ["a@example.com"],
        "probe same": ["a@example.com"],
        "probe both": ["b@example.com", "a@example.com"],
    }
    assert AlertDestination.objects.filter(kind=DestinationKind.MAIL).count() == 2


def test_an_existing_destination_is_used(crontab: Callable[..., str]) -> None:
    mine = AlertDestination.objects.create(name="mine", addresses="b@example.com\na@example.com")
    AlertDestination.objects.create(name="c@example.com", kind=DestinationKind.URL, url="json://host")
    imported(
        crontab(
            *("MAILTO=a@example.com,b@example.com", f"0 2 * * * {PROBE} one"),
            *("MAILTO=c@example.com", f"0 2 * * * {PROBE} two"),
        )
    )
    one, two = AlertRule.objects.exclude(schedule=None).order_by("name")
    assert one.destinations.get() == mine
    assert two.destinations.get().name == "c@example.com (2)"


def test_long_and_secret_command_lines_have_different_names(crontab: Callable[..., str]) -> None:
    choosing = "@daily ./manage.py choosing"
    long = "x" * 300
    imported(
        crontab(
            *(f"{choosing} --api-key hunter22", f"{choosing} --api-key hunter23"),
            *(f"{choosing} {long}1", f"{choosing} {long}2"),
        )
    )
    names = set(PeriodicTask.objects.filter(task="probes.choosing").values_list("name", flat=True))
    assert len(names) == 4
    assert not any("hunter" in name or len(name) > 200 for name in names)


def test_secrets_are_masked(crontab: Callable[..., str]) -> None:
    file = crontab(
        "API_TOKEN=hunter2222",
        "@daily ./manage.py choosing --api-key hunter2222 --format xml",
        "@daily ./manage.py choosing --api-key hunter2222",
        "@daily ./manage.py choosing --api-key hunter2222 --unknown",
        "@daily DB_PASSWORD='hunter2 hunter3' backup --token hunter2222",
        "@daily curl -H 'Authorization: hunter2222'",
    )
    for options in ([], ["--json"], ["--shell"]):
        assert "hunter" not in "".join(imported(file, "--dry-run", *options))


def test_the_report_shows_the_beginning_of_a_long_line(crontab: Callable[..., str]) -> None:
    printed, _ = imported(crontab(f"@daily {'x' * 300}"), "--dry-run")
    assert f"\n    @daily {'x' * 193}…\n" in printed


def test_json_has_every_line(crontab: Callable[..., str]) -> None:
    file = crontab(
        "# comment", "MAILTO=a@example.com", f"0 3 * * * timeout 90 flock -n /l {PROBE}", "@daily x"
    )
    found = json.loads(imported(file, "--json", "--dry-run", "--tz", "Europe/London")[0])
    schedule, left = found["lines"]
    assert (found["time_zone"], found["warnings"], found["settings"]) == ("Europe/London", [], [])
    assert schedule == {
        "line": 3,
        "text": f"0 3 * * * timeout 90 flock -n /l {PROBE}",
        "outcome": "new",
        "reason": None,
        "schedule": "probe",
        "setting": None,
        "job": "probe",
        "options": {},
        "cron": "0 3 * * *",
        "time_zone": "Europe/London",
        "in_words": "every day at 03:00 Europe/London",
        "concurrency": "forbid",
        "time_limit_seconds": 90.0,
        "time_limit_grace_seconds": None,
        "alerts_to": ["a@example.com"],
        "next": [f"2026-03-0{day}T03:00+00:00" for day in range(3, 8)],
        "notes": [],
        "warnings": [],
    }
    assert (left["line"], left["outcome"]) == (4, "left")


def test_the_line_to_add_to_the_settings_is_printed(crontab: Callable[..., str], settings: Any) -> None:
    file = crontab("@daily ./manage.py unexposed_probe")
    printed, _ = imported(file, "--dry-run")
    entry = 'add to your settings: JOBLEDGER["EXPOSED_COMMANDS"]: "unexposed_probe": '
    assert f"{entry}{{}}\n" in printed
    override(settings, EXPOSED_COMMANDS=["plain_probe"])
    assert 'JOBLEDGER["EXPOSED_COMMANDS"]: "unexposed_probe"\n' in imported(file, "--dry-run")[0]


def test_a_listed_shell_command_becomes_a_schedule_if_asked(
    crontab: Callable[..., str], settings: Any
) -> None:
    file = crontab(
        *("DIR=/srv", "@daily  $DIR/backup 100\\% | gzip", "@daily cd /tmp && ls -l", "@daily cat%input"),
        *("@hourly cd /tmp && ls -l", "@daily /bin/ls -R"),
    )
    override(settings, SHELL_COMMANDS={"backup": "$DIR/backup 100% | gzip"})
    assert "shell_command" not in imported(file, "--dry-run")[0]
    printed, _ = imported(file, "--shell")
    [schedule] = PeriodicTask.objects.filter(task="jobledger.shell_command")
    assert (schedule.name, schedule.kwargs) == ("shell_command backup", '{"name": "backup"}')
    assert "The crontab sets DIR for line 2: the worker must have it." in printed
    add = 'add to your settings: JOBLEDGER["SHELL_COMMANDS"]:'
    assert printed.endswith(f'{add} "ls": "cd /tmp && ls -l"\n{add} "ls_2": "/bin/ls -R"\n')
    assert "line 4 stays in the crontab: it is given input by cron" in printed


def test_a_job_on_a_wrapped_line_is_found(crontab: Callable[..., str]) -> None:
    imported(crontab(f"0 3 * * * cd /srv/app && ./manage.py jobledger wrap -- {PROBE} a"))
    assert list(stored()) == ["probe a"]


def test_standard_input_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = io.BytesIO(f"0 3 * * * {PROBE}\n".encode())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=content))
    imported("-")
    assert list(stored()) == ["probe"]


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, "No such file"), (b"#" * (import_crontab.MAX_BYTES + 1), "longer than 1,048,576 bytes")],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: bytes | None, error: str) -> None:
    if content is not None:
        (tmp_path / "crontab").write_bytes(content)
    with pytest.raises(CommandError, match=error):
        imported(str(tmp_path / "crontab"))


def test_an_empty_crontab_is_no_error(crontab: Callable[..., str]) -> None:
    assert imported(crontab("# nothing"), "--tz", "UTC") == (
        "",
        "No line of this crontab runs anything. Nothing was stored.\n",
    )


@pytest.mark.parametrize(
    ("machine", "options", "is_hinted"),
    [
        ("/usr/share/zoneinfo/Europe/Berlin", [], True),
        ("/usr/share/zoneinfo/Europe/Berlin", ["--tz", "UTC"], False),
        ("/usr/share/zoneinfo/Etc/UTC", [], False),
        ("/etc/localtime", [], False),
    ],
)
def test_it_says_if_the_machine_has_another_zone(
    crontab: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    options: list[str],
    is_hinted: bool,
) -> None:
    monkeypatch.setattr(os.path, "realpath", lambda path: machine)
    _, remarks = imported(crontab("# nothing"), *options)
    assert ("pass --tz Europe/Berlin" in remarks) == is_hinted


@pytest.mark.parametrize(
    "line",
    [
        "* * * * --api-key=hunter22 x",
        "@api-key:hunter22 x",
        "0 3 * * * --api-key=hunter22",
        "0 3 * * * ./manage.py probe $(curl --token=hunter22)",
        "0 3 * * * ./manage.py probe > --token=hunter22",
    ],
)
def test_secrets_are_masked_also_where_they_are_not_expected(crontab: Callable[..., str], line: str) -> None:
    stdout = io.StringIO()
    try:
        call_command("jobledger", "import_crontab", crontab(line), stdout=stdout, stderr=stdout)
    except CommandError as error:
        stdout.write(str(error))
    assert "line 1" in stdout.getvalue()
    assert "hunter" not in stdout.getvalue()
