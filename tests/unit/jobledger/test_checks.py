"""``manage.py check`` reports invalid jobs and schedules, with hints."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger import checks
from jobledger.checks import RULES, problems
from jobledger.jobs.declaration import Concurrency, JobDeclaration, Schedule
from tests.unit.builders import override
from tests.unit.jobledger.schedules.builders import hourly


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
        ("retry_on", (OSError, ValueError)),
        ("schedules", (Schedule("0 3 * * *"),)),
    ],
)
def test_a_valid_value_is_not_reported(name: str, value: Any) -> None:
    assert list(problems(declaring(**{name: value}))) == []


def messages_of(found: list[CheckMessage]) -> dict[str, str]:
    return {str(message.id): message.msg for message in found}


def test_the_project_itself_has_no_warnings() -> None:
    assert checks.check_jobs() == []


@pytest.mark.parametrize(
    ("key", "hint"), [("EXPOSED_COMMAND", "Did you mean EXPOSED_COMMANDS?"), ("X", "Its keys are EXPOSED_")]
)
def test_an_unknown_setting_is_reported_with_the_nearest_valid_one(
    settings: Settings, key: str, hint: str
) -> None:
    override(settings, **{key: []})
    (message,) = checks.check_jobs()
    assert (message.id, repr(key) in message.msg) == ("jobledger.W012", True)
    assert str(message.hint).startswith(hint)


def test_a_module_that_cannot_be_imported_is_reported_with_its_traceback(settings: Settings) -> None:
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "tests.broken_app"]
    (message,) = checks.check_jobs()
    assert message.id == "jobledger.W003"
    assert "tests.broken_app.management.commands.broken_probe cannot be imported" in message.msg
    assert "flux_capacitor" in message.msg
    assert "Traceback" in str(message.hint)


def test_an_exposed_command_that_does_not_exist_is_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=["clear_sessions"])
    (message,) = checks.check_jobs()
    assert (message.id, "'clear_sessions'" in message.msg) == ("jobledger.W004", True)


def test_an_unknown_attribute_in_the_setting_is_reported_with_the_valid_ones(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"retries": 3}})
    (message,) = checks.check_jobs()
    assert (message.id, "retries" in message.msg) == ("jobledger.W005", True)
    assert "max_retries" in str(message.hint)


def test_celerys_own_beat_schedule_is_not_ignored_silently(settings: Settings) -> None:
    settings.CELERY_BEAT_SCHEDULE = {"nightly": {"task": "tasks_app.nightly", "schedule": 60.0}}
    assert list(messages_of(checks.check_jobs())) == ["jobledger.W002"]


def exposing(*schedules: Schedule) -> dict[str, Any]:
    return {"plain_probe": {"schedules": list(schedules)}}


def test_two_schedules_of_the_same_name_are_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=exposing(Schedule("0 3 * * *"), Schedule("0 4 * * *")))
    assert list(messages_of(checks.check_jobs())) == ["jobledger.W006"]


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
            "time zone: 'Europe/Londn' is not an IANA time zone",
        ),
        (Schedule(every=timedelta(days=999_999_999)), "every: 86399999913600 is more than"),
        (Schedule(), "exactly one of `cron` and `every`"),
        (Schedule("0 3 * * *", every=timedelta(hours=1)), "exactly one of `cron` and `every`"),
        (Schedule(every=timedelta(seconds=0.5)), "whole seconds"),
        (Schedule(every=timedelta(seconds=-5)), "whole seconds"),
        (Schedule("0 3 * * *", options={"cal_job": True}), "cal_job"),
    ],
)
def test_an_invalid_declared_schedule_is_reported(settings: Settings, schedule: Schedule, said: str) -> None:
    override(settings, EXPOSED_COMMANDS=exposing(schedule))
    found = messages_of(checks.check_jobs())
    assert list(found) == ["jobledger.W007"]
    assert said in found["jobledger.W007"]


@pytest.mark.parametrize("expression", ["@daily", "0 3 * jan-mar MON-fri", "*/5 22-2 L * *", "0 9 * * mon#2"])
def test_a_declared_schedule_is_written_as_in_the_admin(settings: Settings, expression: str) -> None:
    override(settings, EXPOSED_COMMANDS=exposing(Schedule(expression)))
    assert checks.check_jobs() == []


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
    assert [message.id for message in checks.check_jobs()] == ["jobledger.W008", "jobledger.W008"]


def stored(task: str, kwargs: str, *, enabled: bool = True) -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="stored", task=task, kwargs=kwargs, interval=every, enabled=enabled)


@pytest.mark.django_db
def test_a_stored_schedule_with_invalid_options_is_a_warning() -> None:
    stored("probes.probe", '{"level": 9}')
    (message,) = checks.check_schedules(databases=["default"])
    assert message.id == "jobledger.W001"
    assert "'stored' has options that are not valid for probes.probe" in message.msg


@pytest.mark.django_db
def test_valid_disabled_and_allowed_schedules_are_not_reported(settings: Settings) -> None:
    override(settings, SCHEDULABLE_TASKS=["some.*"])
    stored("probes.probe", '{"level": 2}')
    PeriodicTask.objects.create(
        name="off",
        task="probes.probe",
        kwargs='{"level": 9}',
        interval=IntervalSchedule.objects.get(),
        enabled=False,
    )
    PeriodicTask.objects.create(
        name="other", task="some.task", kwargs='{"level": 9}', interval=IntervalSchedule.objects.get()
    )
    assert checks.check_schedules(databases=["default"]) == []


def test_without_a_database_to_check_there_are_no_queries() -> None:
    assert checks.check_schedules(databases=None) == []


def test_an_invalid_declaration_is_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"time_limit": 5}})
    (message,) = checks.check_jobs()
    assert message.id == "jobledger.W008"
    assert "The job clearsessions has an invalid declaration: time_limit is 5" in message.msg


@pytest.mark.parametrize("limit", [512, "512", "much", "0 MB", True])
def test_a_memory_limit_without_a_unit_is_reported(settings: Settings, limit: object) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"memory_limit": limit}})
    (message,) = checks.check_jobs()
    assert f'memory_limit is {limit!r}; expected a size, such as "512 MB"' in message.msg


def test_a_memory_limit_is_a_size(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"memory_limit": "1.5 GB"}})
    assert checks.check_jobs() == []


def test_a_secret_option_that_does_not_exist_is_reported(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS={"clearsessions": {"secret_options": ["verbosity", "pasword"]}})
    (message,) = checks.check_jobs()
    assert (message.id, "declares pasword as secret" in message.msg) == ("jobledger.W009", True)


@pytest.mark.django_db
def test_a_schedule_whose_options_are_not_an_object_is_reported() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="mine", task="probes.choosing", kwargs="[]", interval=every)
    assert "is not an object" in messages_of(checks.check_schedules(databases=["default"]))["jobledger.W010"]


@pytest.mark.django_db
def test_a_secret_in_invalid_options_is_masked() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(
        name="mine", task="probes.choosing", kwargs='{"api_key": ["hunter2"]}', interval=every
    )
    assert "hunter2" not in messages_of(checks.check_schedules(databases=["default"]))["jobledger.W001"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("task", "kwargs", "said"),
    [
        ("probes.gone", "{}", "there is no longer a job or task named 'probes.gone'"),
        ("tests.probes.tasks.add", "{", "kwargs: '{' is not valid JSON"),
        ("tests.probes.tasks.add", "[1]", "kwargs: '[1]' is not an object"),
        ("probes.probe", '{"level": ', "is not valid JSON"),
        ("probes.probe", "[1]", "kwargs: '[1]' is not an object"),
        ("probes.probe", "[" * 100_000 + "]" * 100_000, "nested more than 50 levels deep"),
        ("probes.probe", f'{{"words": ["{"x" * 70_000}"]}}', "more than the 65,536 allowed"),
        ("some.task", "{}", "'some.task' does not belong to an app of this project"),
        ("celery.chord_unlock", '{"interval": 0}', "one of Celery's own tasks, which cannot be scheduled"),
    ],
)
def test_a_schedule_that_cannot_start_anything_is_reported(task: str, kwargs: str, said: str) -> None:
    stored(task, kwargs)
    (message,) = checks.check_schedules(databases=["default"])
    assert message.id == "jobledger.W010"
    assert message.msg.startswith("The schedule 'stored' is broken: ")
    assert said in message.msg


@pytest.mark.django_db
def test_a_disabled_schedule_may_be_broken() -> None:
    stored("probes.gone", "{", enabled=False)
    assert checks.check_schedules(databases=["default"]) == []


@pytest.mark.django_db
def test_a_schedule_whose_times_cannot_be_evaluated_is_reported() -> None:
    hourly("minute", minute="77")
    hourly("zone")
    hourly("good")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE django_celery_beat_crontabschedule SET timezone = '' WHERE id = %s",
            [PeriodicTask.objects.get(name="zone").crontab_id],
        )
    PeriodicTask.objects.bulk_create([PeriodicTask(name="none", task="probes.probe")])
    found = [message.msg for message in checks.check_schedules(databases=["default"])]
    assert [text.partition(" is broken: ")[0] for text in found] == [
        "The schedule 'minute'",
        "The schedule 'zone'",
        "The schedule 'none'",
    ]
    assert "minute: 77" in found[0]
    assert "time zone is empty" in found[1]
    assert "is required, not none" in found[2]


@pytest.mark.django_db
def test_headers_and_names_reserved_by_celery_are_reported() -> None:
    hourly("headers", headers='{"id": ["x"]}')
    hourly("no object", headers="[]")
    hourly("too large", headers=f'{{"x": "{"A" * 70_000}"}}')
    hourly("queue", queue="unacked")
    hourly("good", headers='{"tenant": "a"}', queue="slow")
    found = checks.check_schedules(databases=["default"])
    assert [(message.id, message.msg.partition(" message ")[0]) for message in found[1:]] == [
        ("jobledger.W011", "The schedule 'headers': its"),
        ("jobledger.W011", "The schedule 'no object': its"),
        ("jobledger.W011", "The schedule 'too large': its"),
    ]
    assert (found[0].id, found[0].msg) == (
        "jobledger.W010",
        "The schedule 'queue' is broken: its queue 'unacked' cannot be used: it is reserved by Celery",
    )
