"""``manage.py check`` reports invalid jobs, with hints."""

import sys
from datetime import timedelta
from typing import Any, NoReturn

import pytest
from celery import current_app
from django.core.checks import CheckMessage
from django.core.management import get_commands
from django.core.management.base import BaseCommand, CommandParser
from pytest_django import Settings

from jobledger.checks.jobs import RULES, UNFIT, check_jobs, problems
from jobledger.checks.options import check_options
from jobledger.jobs import registry, secrets
from jobledger.jobs.declaration import AlertKind, Alerts, Concurrency, Frequency, JobDeclaration, Schedule
from tests.unit.builders import override


def declaring(**values: Any) -> type[JobDeclaration]:
    return type("Declared", (JobDeclaration,), values)


def test_a_job_without_declarations_has_no_problems() -> None:
    assert list(problems(JobDeclaration)) == []


def test_every_attribute_is_checked() -> None:
    assert set(RULES) == set(JobDeclaration.__annotations__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", "banana"),
        ("concurrency", []),
        ("time_limit", 5),
        ("time_limit", timedelta(0)),
        ("max_queued", 0),
        ("max_live_per_schedule", 0),
        ("max_live", "many"),
        ("time_limit_grace", timedelta(seconds=-1)),
        ("max_retries", True),
        ("max_retries", -1),
        ("retry_backoff", 30),
        ("retry_on", OSError),
        ("retry_on", ("OSError",)),
        ("restart_when_lost", "yes"),
        ("secret_options", "pin"),
        ("queue", None),
        ("queue", "two words"),
        ("queue", "_kombu.binding.celery"),
        ("queue", "q" * 201),
        ("priority", "high"),
        ("priority", 256),
        ("priority", True),
        ("alerts", AlertKind.FAILED),
        ("alerts", Alerts(kinds=AlertKind.FAILED)),  # type: ignore[arg-type]
        ("alerts", Alerts(kinds=None)),  # type: ignore[arg-type]
        ("alerts", Alerts(kinds=[[]])),  # type: ignore[list-item]
        ("alerts", Alerts(after_failures=0)),
        ("alerts", Alerts(after_failures=None)),  # type: ignore[arg-type]
        ("alerts", Alerts(frequency=[])),  # type: ignore[arg-type]
        ("alerts", Alerts(destinations="pager")),
        ("schedules", Schedule("0 3 * * *")),
        ("schedules", ["0 3 * * *"]),
    ],
)
def test_an_invalid_value_is_reported(name: str, value: Any) -> None:
    (said,) = problems(declaring(**{name: value}))
    assert said.startswith(f"{name} is {value!r}; expected ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("concurrency", Concurrency.ALLOW),
        ("concurrency", "queue"),
        ("time_limit", timedelta(minutes=5)),
        ("max_retries", 3),
        ("queue", "reports"),
        ("priority", 0),
        ("retry_on", (OSError, ValueError)),
        ("alerts", Alerts(kinds=(), frequency=Frequency.DAILY, destinations=["pager"])),
        ("schedules", (Schedule("0 3 * * *"),)),
    ],
)
def test_a_valid_value_is_not_reported(name: str, value: Any) -> None:
    assert list(problems(declaring(**{name: value}))) == []


def messages_of(found: list[CheckMessage]) -> dict[str, str]:
    return {str(message.id): message.msg for message in found}


def test_the_project_itself_has_no_warnings() -> None:
    assert check_jobs() == []


@pytest.mark.parametrize(
    ("key", "hint"), [("EXPOSED_COMMAND", "Did you mean EXPOSED_COMMANDS?"), ("X", "Its keys are EXPOSED_")]
)
def test_an_unknown_setting_is_reported_with_the_nearest_valid_one(
    settings: Settings, key: str, hint: str
) -> None:
    override(settings, **{key: []})
    (message,) = check_jobs()
    assert (message.id, repr(key) in message.msg) == ("jobledger.W012", True)
    assert str(message.hint).startswith(hint)


def test_a_module_that_cannot_be_imported_is_reported_in_one_line(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.broken_app"]
    broken, *others = check_jobs()
    assert {message.id for message in (broken, *others)} == {"jobledger.W003"}
    assert "tests.broken_app.management.commands.broken_probe cannot be imported" in broken.msg
    assert "flux_capacitor" in broken.msg
    assert str(broken).count("\n") == 0


def test_an_exposed_command_that_does_not_exist_is_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["clear_sessions"])
    (message,) = check_jobs()
    assert (message.id, "'clear_sessions'" in message.msg) == ("jobledger.W004", True)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("flush", "deletes or overwrites data"),
        ("loaddata", "deletes or overwrites data"),
        ("migrate", "deletes or overwrites data"),
        ("sqlflush", "the SQL that deletes all data"),
        ("shell", "full access"),
        ("dbshell", "full access"),
        ("runserver", "never ends"),
        ("testserver", "never ends"),
        ("makemigrations", "source code"),
        ("jobledger", "operates this service"),
    ],
)
def test_an_exposed_command_that_should_not_be_is_reported(settings: Settings, name: str, why: str) -> None:
    override(settings, EXPOSED_COMMANDS=["clearsessions", name])
    (message,) = check_jobs()
    assert (message.id, repr(name) in message.msg, why in message.msg) == ("jobledger.W022", True, True)


def test_what_should_not_be_exposed_exists() -> None:
    assert set(UNFIT) <= set(get_commands())


def test_an_unknown_attribute_in_the_setting_is_reported_with_the_valid_ones(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"retries": 3}})
    (message,) = check_jobs()
    assert (message.id, "retries" in message.msg) == ("jobledger.W005", True)
    assert "max_retries" in str(message.hint)


def exposing(*schedules: Schedule) -> dict[str, Any]:
    return {"plain_probe": {"schedules": list(schedules)}}


def test_two_schedules_of_the_same_name_are_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=exposing(Schedule("0 3 * * *"), Schedule("0 4 * * *")))
    assert list(messages_of(check_jobs())) == ["jobledger.W006"]


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (Schedule("0 3 * *"), "the expression has 4 fields, cron has 5: minute hour day-of-month month"),
        (Schedule("61 3 * * *"), "minute: 61 is not between 0 and 59"),
        (Schedule("0 3 * * noday"), "day-of-week: 'noday' is not a number or a name such as sun"),
        (Schedule("0 0 31 2 *"), "day-of-month: day 31 never occurs in month 2"),
        (Schedule("@dayly"), "the expression '@dayly' is unknown; choose one of @yearly, "),
        (Schedule("@reboot"), "the expression @reboot is not a time"),
        (Schedule(f"{'1,' * 200}1 3 * * *"), "minute: it is longer than 240 characters"),
        (
            Schedule("0 3 * * *", timezone="Europe/Londn"),
            "timezone: 'Europe/Londn' is not an IANA time zone",
        ),
        (Schedule(every=timedelta(days=999_999_999)), "every: 86399999913600 is more than"),
        (Schedule(), "exactly one of `cron`, `every`, `at`, `solar` and `after`"),
        (
            Schedule("0 3 * * *", every=timedelta(hours=1)),
            "exactly one of `cron`, `every`, `at`, `solar` and `after`",
        ),
        (Schedule(every=timedelta(seconds=0.5)), "whole seconds"),
        (Schedule(every=timedelta(seconds=-5)), "whole seconds"),
        (Schedule("0 3 * * *", options={"cal_job": True}), "cal_job"),
    ],
)
def test_an_invalid_declared_schedule_is_reported(settings: Settings, schedule: Schedule, said: str) -> None:
    override(settings, EXPOSED_COMMANDS=exposing(schedule))
    found = messages_of(check_jobs())
    assert list(found) == ["jobledger.W007"]
    assert said in found["jobledger.W007"]


@pytest.mark.parametrize("expression", ["@daily", "0 3 * jan-mar MON-fri", "*/5 22-2 L * *", "0 9 * * mon#2"])
def test_a_declared_schedule_is_written_as_in_the_admin(settings: Settings, expression: str) -> None:
    override(settings, EXPOSED_COMMANDS=exposing(Schedule(expression)))
    assert check_jobs() == []


@pytest.mark.parametrize("schedules", [["0 3 * * *"], "0 3 * * *", 5, None])
def test_an_invalid_list_of_schedules_is_reported_and_hides_no_other_problem(
    settings: Settings, schedules: object
) -> None:
    override(
        settings,
        EXPOSED_COMMANDS={
            "plain_probe": {"schedules": schedules},
            "clearsessions": {"max_retries": -1},
        },
    )
    assert [message.id for message in check_jobs()] == ["jobledger.W008", "jobledger.W008"]


def test_an_invalid_declaration_is_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"time_limit": 5}})
    (message,) = check_jobs()
    assert message.id == "jobledger.W008"
    assert "The job clearsessions has an invalid declaration: time_limit is 5" in message.msg


def test_a_queue_that_celery_may_not_create_is_reported(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"queue": "nowhere"}})
    assert check_jobs() == []
    monkeypatch.setitem(current_app.conf, "task_create_missing_queues", False)
    found = [each for each in check_jobs() if "clearsessions" in each.msg]
    assert [(each.id, each.msg) for each in found] == [
        (
            "jobledger.W008",
            "The job clearsessions declares the queue 'nowhere', which does not exist: its runs fail.",
        )
    ]
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"queue": "celery"}})
    assert not any("clearsessions" in each.msg for each in check_jobs())


@pytest.mark.parametrize("limit", [512, "512", "much", "0 MB", True])
def test_a_memory_limit_without_a_unit_is_reported(settings: Settings, limit: object) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"memory_limit": limit}})
    (message,) = check_jobs()
    assert f'memory_limit is {limit!r}; expected a size, such as "512 MB"' in message.msg


def test_a_memory_limit_is_a_size(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"memory_limit": "1.5 GB"}})
    assert check_jobs() == []


def test_a_job_that_cannot_tell_its_options_hides_no_other_problem(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_arguments(self: BaseCommand, parser: CommandParser) -> NoReturn:
        sys.exit("Not today.")

    values = {"schedules": [Schedule("0 3 * * *")], "secret_options": ["pin"]}
    override(settings, EXPOSED_COMMANDS={"clearsessions": values})
    monkeypatch.setattr(registry.find("clearsessions").command_class, "add_arguments", add_arguments)
    found = [each for each in [*check_jobs(), *check_options()] if " job clearsessions" in each.msg]
    assert [each.id for each in found] == ["jobledger.W007", "jobledger.W021"]
    assert all("cannot tell its options: SystemExit: Not today." in each.msg for each in found)
    assert secrets.masked("clearsessions", {"pin": 1}) == {"pin": secrets.MASK}
