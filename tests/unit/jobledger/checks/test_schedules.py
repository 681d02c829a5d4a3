"""``manage.py check --database default`` reports stored schedules that cannot run, with hints."""

from datetime import timedelta
from typing import NoReturn

import pytest
from django.core.checks import INFO, CheckMessage
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger import Calendars, Schedule
from jobledger.checks.schedules import check_schedules
from jobledger.jobs import registry
from jobledger.jobs.declaration import Alerts
from jobledger.models import AlertRule, Calendar, Pause
from jobledger.schedules.reconciliation import Reconciliation
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.builders import override
from tests.unit.jobledger.alerts.builders import destination
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by
from tests.unit.jobledger.schedules.chains.builders import follower
from tests.unit.jobledger.schedules.declared.builders import declare


def messages_of(found: list[CheckMessage]) -> dict[str, str]:
    return {str(message.id): message.msg for message in found}


def stored(task: str, kwargs: str, *, enabled: bool = True) -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="stored", task=task, kwargs=kwargs, interval=every, enabled=enabled)


@pytest.mark.django_db
def test_a_stored_schedule_with_invalid_options_is_a_warning() -> None:
    stored("probes.probe", '{"level": 9}')
    (message,) = check_schedules(databases=["default"])
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
    assert check_schedules(databases=["default"]) == []


@pytest.mark.django_db
def test_a_calendar_that_is_not_valid_is_a_warning_beside_the_broken_schedule() -> None:
    limited_by(hourly(), "sun")
    Calendar.objects.update(entries="holidays ZZ")
    Reconciliation().step()
    found = {str(each.id): each.msg for each in check_schedules(databases=["default"])}
    assert "The calendar 'closed hourly' is not valid: line 1, 'holidays ZZ'" in found["jobledger.W026"]
    assert "The schedule 'hourly' is broken" in found["jobledger.W010"]


@pytest.mark.django_db
def test_a_schedule_that_never_runs_because_of_its_calendars_is_a_warning() -> None:
    limited_by(hourly(), "mon-sun")
    limited_by(hourly("fine"), "sun")
    limited_by(hourly("disabled", enabled=False), "mon-sun")
    (message,) = check_schedules(databases=["default"])
    text = "The schedule 'hourly' never runs: its calendars leave no time for it."
    assert (message.id, message.msg) == ("jobledger.W027", text)


@pytest.mark.django_db
def test_a_schedule_whose_predecessor_is_disabled_is_a_warning() -> None:
    first = hourly("first")
    follower("first", since=NOON, name="then")
    assert "jobledger.W030" not in messages_of(check_schedules(["default"]))
    PeriodicTask.objects.filter(pk=first.pk).update(enabled=False)
    found = messages_of(check_schedules(["default"]))
    assert found["jobledger.W030"] == "The schedule 'then' does not start: first is disabled."


@pytest.mark.django_db
def test_a_monitor_of_no_job_and_no_schedule_is_a_warning(settings: Settings) -> None:
    hourly("Nightly report")
    override(settings, SENTRY_MONITORS=["probe", "Nightly *", "probes.pro*", "nope", "NIGHTLY*"])
    messages = check_schedules(databases=["default"])
    assert [(each.id, each.msg) for each in messages] == [
        ("jobledger.W033", f"SENTRY_MONITORS has {name!r}, but no job and no schedule has that name.")
        for name in ("nope", "NIGHTLY*")
    ]


@pytest.mark.django_db
def test_values_that_no_form_accepts_are_warnings() -> None:
    pause = Pause.objects.create(on_resume="maybe")
    rule = AlertRule.objects.create(name="all", frequency="hourly", late_after=timedelta(days=-1))
    AlertRule.objects.filter(pk=rule.pk).update(kinds=5)
    found = [message.msg for message in check_schedules(databases=["default"])]
    assert found == [
        f"The alert rule {rule.pk} has an invalid kinds: 5 is stored, which is not a JSON array, such as [].",
        f'The alert rule {rule.pk} has an invalid frequency: "hourly" is none of immediately, daily, weekly.',
        f"The alert rule {rule.pk} has an invalid late_after: -1 day, 0:00:00 is negative.",
        f'The pause {pause.pk} has an invalid on_resume: "maybe" is none of skip, once.',
    ]


@pytest.mark.django_db
def test_a_calendar_that_is_over_is_information() -> None:
    for name, entries in (
        ("freeze", "2020-12-20 18:00 to 2020-12-27 06:00"),
        ("later", "2999-01-01"),
        ("weekend", "sat\n2020-01-01"),
    ):
        Calendar.objects.create(name=name, entries=entries)
    (message,) = check_schedules(databases=["default"])
    assert (message.level, message.id, message.msg) == (
        INFO,
        "jobledger.I002",
        "The calendar 'freeze' has no days after 2020-12-27.",
    )


def test_without_a_database_to_check_there_are_no_queries() -> None:
    assert check_schedules(databases=None) == []


@pytest.mark.django_db
def test_a_schedule_whose_options_are_not_an_object_is_reported() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="mine", task="probes.choosing", kwargs="[]", interval=every)
    assert "is not an object" in messages_of(check_schedules(databases=["default"]))["jobledger.W010"]


@pytest.mark.django_db
def test_a_secret_in_invalid_options_is_masked() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(
        name="mine", task="probes.choosing", kwargs='{"api_key": ["hunter2"]}', interval=every
    )
    assert "hunter2" not in messages_of(check_schedules(databases=["default"]))["jobledger.W001"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("task", "kwargs", "said"),
    [
        ("probes.gone", "{}", "there is no job or task named 'probes.gone'"),
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
    (message,) = check_schedules(databases=["default"])
    assert message.id == "jobledger.W010"
    assert message.msg.startswith("The schedule 'stored' is broken: ")
    assert said in message.msg


@pytest.mark.django_db
def test_a_disabled_schedule_may_be_broken() -> None:
    stored("probes.gone", "{", enabled=False)
    assert check_schedules(databases=["default"]) == []


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
    found = [message.msg for message in check_schedules(databases=["default"])]
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
    found = check_schedules(databases=["default"])
    assert [(message.id, message.msg.partition(" message ")[0]) for message in found[:-1]] == [
        ("jobledger.W011", "The schedule 'headers': its"),
        ("jobledger.W011", "The schedule 'no object': its"),
        ("jobledger.W011", "The schedule 'too large': its"),
    ]
    assert (found[-1].id, found[-1].msg) == (
        "jobledger.W010",
        "The schedule 'queue' is broken: its queue 'unacked' cannot be used: it is reserved by Celery",
    )


@pytest.mark.django_db
def test_a_schedule_of_a_job_that_cannot_tell_its_options_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def add_arguments(self: BaseCommand, parser: CommandParser) -> NoReturn:
        raise OSError("no such file")

    monkeypatch.setattr(registry.find("probe").command_class, "add_arguments", add_arguments)
    stored("probes.probe", "{}")
    (message,) = check_schedules(databases=["default"])
    assert message.id == "jobledger.W001"
    assert message.msg.endswith("cannot tell its options: OSError: no such file")


@pytest.mark.django_db
def test_alert_destinations_that_jobs_name_in_vain_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(destinations=["pager", "team"]))
    destination("team")
    # Other jobs inherit from that one.
    messages = [message for message in check_schedules(databases=["default"]) if "'probe'" in message.msg]
    assert [message.id for message in messages] == ["jobledger.W023"]
    assert messages[0].msg.endswith(": pager.")
    destination("pager")
    assert check_schedules(databases=["default"]) == []


@pytest.mark.django_db
def test_expressions_that_may_surprise_are_for_information() -> None:
    crontab = CrontabSchedule.objects.create(minute="*/45", hour="*", timezone="UTC")
    PeriodicTask.objects.create(name="odd", task="probes.probe", crontab=crontab)
    [message] = check_schedules(databases=["default"])
    assert (message.id, message.level) == ("jobledger.I001", INFO)
    assert "'odd' (*/45 * * * *): */45 is not every 45 minutes" in message.msg


@pytest.mark.django_db
def test_a_calendar_that_the_code_names_and_that_does_not_exist_is_a_warning(settings: Settings) -> None:
    declare(settings, Schedule("0 3 * * *", calendars=Calendars(not_on=["closed"], only_on=["open"])))
    Calendar.objects.create(name="open", entries="sun")
    (message,) = check_schedules(databases=["default"])
    text = (
        "The schedule 'plain_probe' of the job 'plain_probe' names a calendar 'closed', which does not exist."
    )
    assert (message.id, message.msg) == ("jobledger.W028", text)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", ["DROP TABLE jobledger_schedulecalendar", "ALTER TABLE jobledger_calendar DROP COLUMN entries"]
)
def test_before_the_tables_are_those_of_this_version_nothing_is_read_from_them(change: str) -> None:
    stored("probes.probe", '{"level": 9}')
    with connection.cursor() as cursor:
        cursor.execute(change)
    assert check_schedules(databases=["default"]) == []
