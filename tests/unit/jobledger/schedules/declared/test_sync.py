"""The code and users change schedules: nothing is lost, and applying the same again changes nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, Misfire, Schedule, SolarEvent
from jobledger.models import DeclaredSchedule, NextSlot, Run, SchedulePolicy, Trigger
from jobledger.schedules import stored_schedules
from jobledger.schedules.declared import DeclarationError, by_name
from jobledger.schedules.declared import sync as syncing
from jobledger.schedules.declared.merge import State
from jobledger.schedules.declared.merged import merged
from jobledger.schedules.declared.outcomes import Action, Outcome
from jobledger.schedules.declared.sync import UnknownScheduleError, reset, resolve, sync
from jobledger.schedules.due import ledger
from jobledger.schedules.stored_times import ClockedTimes, CronTimes, SolarTimes
from tests.unit.builders import override
from tests.unit.jobledger.schedules.declared.builders import JOB, actions, applied, declare, of_job, stored

pytestmark = pytest.mark.django_db

DAILY = Schedule("0 3 * * *")


def edit(which: str = JOB, /, **values: Any) -> None:
    PeriodicTask.objects.filter(name=which).update(**values)


def drift(outcomes: list[Outcome]) -> list[tuple[str, str, str]]:
    return [(each.field, each.stored, each.code) for one in outcomes for each in one.drift]


def state_of(name: str = JOB) -> dict[str, State]:
    record = DeclaredSchedule.objects.get(name=name)
    assert record.schedule is not None
    return merged(by_name()[name], record, record.schedule).states


def everything() -> list[list[dict[str, Any]]]:
    models: Any = (PeriodicTask, SchedulePolicy, NextSlot, DeclaredSchedule, PeriodicTasks, CrontabSchedule)
    return [list(model._default_manager.order_by("pk").values()) for model in models]


def without_dates() -> list[dict[str, Any]]:
    schedules, policies, *_ = everything()
    return [{**row, "date_changed": None} for row in (*schedules, *policies)]


# What is created


def test_the_default_schedules_are_created() -> None:
    created = {name for name, action in actions(sync()).items() if action is Action.CREATE}
    assert {"clearsessions", "hello", "nightly", "prune_runs"} <= created
    nightly = stored("nightly")
    assert (nightly.task, nightly.enabled) == ("tasks_app.nightly", True)
    assert str(nightly.crontab).startswith("0 3 * * *")
    assert stored("clearsessions").task == "sessions.clearsessions"


def test_a_crontab_has_the_declared_zone(settings: Settings) -> None:
    applied(settings, Schedule("30 2 * * 1-5", timezone="Europe/London", name="early"))
    crontab = stored("early").crontab
    assert (crontab.minute, crontab.hour, crontab.day_of_week) == ("30", "2", "1-5")
    assert str(crontab.timezone) == "Europe/London"


def test_the_default_zone_is_the_projects(settings: Settings) -> None:
    settings.TIME_ZONE = "America/New_York"
    applied(settings, DAILY)
    assert str(stored().crontab.timezone) == "America/New_York"


def test_an_interval_is_in_whole_seconds(settings: Settings) -> None:
    applied(settings, Schedule(every=timedelta(minutes=15), options={"call_job": True}, enabled=False))
    assert (stored().interval.every, stored().interval.period) == (900, "seconds")
    assert (stored().kwargs, stored().enabled) == ('{"call_job": true}', False)


def test_a_single_time_is_in_the_declared_zone(settings: Settings) -> None:
    at = datetime.fromisoformat("2030-07-01T12:00")
    applied(settings, Schedule(at=at, timezone="Europe/London"))
    assert stored_schedules.of(stored()) == ClockedTimes(at=datetime(2030, 7, 1, 11, tzinfo=UTC))
    assert stored().one_off is True


def test_a_solar_event_is_stored_as_precisely_as_the_database_can(settings: Settings) -> None:
    pytest.importorskip("ephem")
    applied(settings, Schedule(solar=SolarEvent(event="sunset", latitude=51.5, longitude=-0.12345678)))
    times = stored_schedules.of(stored())
    assert isinstance(times, SolarTimes)
    assert (times.event, float(times.latitude), float(times.longitude)) == ("sunset", 51.5, -0.123457)
    assert set(state_of().values()) == {State.SAME}


def test_everything_that_can_be_declared_is_stored(settings: Settings) -> None:
    applied(
        settings,
        Schedule(
            "0 3 * * *",
            description="Ask ann.",
            queue="slow",
            priority=3,
            misfire=Misfire.ALL,
            catch_up_limit=7,
            starting_deadline=timedelta(hours=1),
            jitter=timedelta(minutes=5),
            concurrency=Concurrency.QUEUE,
            time_limit=timedelta(minutes=10),
            time_limit_grace=timedelta(0),
        ),
    )
    schedule, policy = stored(), stored().policy
    assert (schedule.description, schedule.queue, schedule.priority) == ("Ask ann.", "slow", 3)
    assert (policy.misfire, policy.catch_up_limit, policy.concurrency) == ("all", 7, "queue")
    assert (policy.starting_deadline, policy.jitter) == (timedelta(hours=1), timedelta(minutes=5))
    assert (policy.time_limit, policy.time_limit_grace) == (timedelta(minutes=10), timedelta(0))
    assert set(state_of().values()) == {State.SAME}
    assert NextSlot.objects.get(schedule=schedule).due_at is not None


def test_the_description_is_the_jobs_help_unless_one_is_declared(settings: Settings) -> None:
    applied(settings, DAILY)
    assert stored().description == registry.all_jobs()[JOB].help


def test_equal_times_share_a_row(settings: Settings) -> None:
    applied(settings, Schedule("0 0 * * *", name="one"), Schedule("@daily", name="two"))
    assert CrontabSchedule.objects.get(periodictask__name="one").periodictask_set.count() == 2


def test_an_expression_is_stored_as_the_admin_stores_it(settings: Settings) -> None:
    applied(settings, Schedule("@weekly", name="macro"), Schedule("0  3 * JAN-mar fri-mon", name="names"))
    zone = ZoneInfo("UTC")
    assert stored_schedules.of(stored("macro")) == CronTimes(expression="0 0 * * 0", zone=zone)
    assert stored_schedules.of(stored("names")) == CronTimes(expression="0 3 * jan-mar fri-mon", zone=zone)


def test_the_settings_declare_schedules_of_any_job(settings: Settings) -> None:
    override(settings, EXPOSED_COMMANDS=[JOB], SCHEDULES={JOB: [Schedule("@daily", name="from settings")]})
    assert actions(of_job(sync())) == {"from settings": Action.CREATE}
    override(settings, SCHEDULES={})
    assert actions(of_job(sync())) == {"from settings": Action.ORPHAN}


# Changes of the code


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (Schedule("0 4 * * *"), [("timing", "0 3 * * *", "0 4 * * *")]),
        (Schedule(every=timedelta(hours=1)), None),
        (Schedule("0 3 * * *", timezone="Europe/London"), [("timezone", "UTC", "Europe/London")]),
        (Schedule("0 3 * * *", options={"call_job": True}), [("options", "", '{"call_job": true}')]),
        (Schedule("0 3 * * *", enabled=False), [("enabled", "yes", "no")]),
        (Schedule("0 3 * * *", queue="slow"), [("queue", "", "slow")]),
        (Schedule("0 3 * * *", priority=0), [("priority", "", "0")]),
        (
            Schedule("0 3 * * *", misfire=Misfire.SKIP),
            [("misfire", "run once for all of them", "skip them")],
        ),
        (Schedule("0 3 * * *", catch_up_limit=5), [("catch_up_limit", "100", "5")]),
        (Schedule("0 3 * * *", starting_deadline=timedelta(hours=1)), [("starting_deadline", "", "1 h")]),
        (Schedule("0 3 * * *", jitter=timedelta(minutes=1)), [("jitter", "", "1 min")]),
        (
            Schedule("0 3 * * *", concurrency=Concurrency.QUEUE),
            [("concurrency", "use the job's setting", "wait until it has ended")],
        ),
        (Schedule("0 3 * * *", time_limit=timedelta(minutes=90)), [("time_limit", "", "1 h 30 min")]),
        (Schedule("0 3 * * *", time_limit_grace=timedelta(0)), [("time_limit_grace", "", "0 s")]),
    ],
)
def test_a_field_that_changed_only_in_the_code_follows_the_code_and_back(
    settings: Settings, changed: Schedule, expected: list[tuple[str, str, str]] | None
) -> None:
    applied(settings, DAILY)
    before = without_dates()
    (outcome,) = applied(settings, changed)
    assert outcome.action is Action.CHANGE
    if expected:
        assert [(each.field, each.stored, each.code) for each in outcome.changes] == expected
    assert set(state_of().values()) == {State.SAME}
    assert applied(settings, changed)[0].action is Action.NONE
    assert applied(settings, DAILY)[0].action is Action.CHANGE
    assert without_dates() == before


def test_a_new_time_is_planned_and_starts_nothing_in_the_past(settings: Settings) -> None:
    applied(settings, DAILY)
    first = NextSlot.objects.get(schedule=stored()).slot
    applied(settings, Schedule("0 5 * * *"))
    second = NextSlot.objects.get(schedule=stored()).slot
    assert first is not None
    assert second is not None
    assert (first.hour, second.hour) == (3, 5)
    assert not Run.objects.exists()


def test_applying_again_changes_no_row(settings: Settings) -> None:
    applied(settings, DAILY, Schedule(every=timedelta(hours=1), name="other"))
    edit(queue="slow")
    sync()
    before = everything()
    assert {each.action for each in sync()} == {Action.NONE}
    assert everything() == before


# Edits


def test_a_field_that_changed_only_in_the_admin_stays(settings: Settings) -> None:
    applied(settings, DAILY)
    edit(enabled=False, queue="slow")
    (outcome,) = applied(settings, Schedule("0 4 * * *"))
    assert (stored().enabled, stored().queue, stored().crontab.hour) == (False, "slow", "4")
    assert [each.field for each in outcome.edited] == ["enabled", "queue"]
    assert not outcome.drift


def test_a_field_that_changed_in_both_keeps_the_admins_value_and_is_reported_until_resolved(
    settings: Settings,
) -> None:
    applied(settings, DAILY)
    edit(queue="slow")
    for _ in range(2):
        assert drift(applied(settings, Schedule("0 3 * * *", queue="fast"))) == [("queue", "slow", "fast")]
    assert stored().queue == "slow"
    assert drift(applied(settings, Schedule("0 3 * * *", queue="slow"))) == []
    assert applied(settings, Schedule("0 3 * * *", queue="later"))[0].action is Action.CHANGE


def test_an_edit_that_is_taken_back_follows_the_code_again(settings: Settings) -> None:
    applied(settings, DAILY)
    edit(queue="slow")
    applied(settings, Schedule("0 3 * * *", queue="fast"))
    edit(queue=None)
    applied(settings, Schedule("0 3 * * *", queue="fast"))
    assert stored().queue == "fast"


def test_a_renamed_schedule_keeps_its_name_and_follows_the_code(settings: Settings) -> None:
    applied(settings, DAILY)
    edit(name="mine")
    (outcome,) = applied(settings, Schedule("0 4 * * *"))
    assert (outcome.action, outcome.stored_name) == (Action.CHANGE, "mine")
    assert stored("mine").crontab.hour == "4"
    assert not PeriodicTask.objects.filter(name=JOB).exists()


def test_a_deleted_schedule_does_not_come_back(settings: Settings) -> None:
    applied(settings, DAILY)
    stored().delete()
    for schedule in (DAILY, Schedule("0 4 * * *")):
        assert actions(applied(settings, schedule)) == {JOB: Action.LEAVE_DELETED}
    assert not PeriodicTask.objects.filter(name=JOB).exists()
    assert reset(JOB).action is Action.CREATE
    assert stored().crontab.hour == "4"


@pytest.mark.parametrize("deployments_between", [0, 1])
def test_one_that_a_user_deleted_after_the_code_had_is_new_when_it_is_declared_again(
    settings: Settings, deployments_between: int
) -> None:
    applied(settings, DAILY)
    applied(settings)
    stored().delete()
    for _ in range(deployments_between):
        applied(settings)
    assert actions(applied(settings, DAILY)) == {JOB: Action.CREATE}


def test_so_is_one_that_the_code_no_longer_declared_after_a_user_had_deleted_it(settings: Settings) -> None:
    applied(settings, DAILY)
    stored().delete()
    assert applied(settings) == []
    assert actions(applied(settings, DAILY)) == {JOB: Action.CREATE}


def test_celerys_rules_are_an_edit_of_the_timing(settings: Settings) -> None:
    applied(settings, DAILY)
    SchedulePolicy.objects.filter(schedule=stored()).update(dialect="celery")
    (outcome,) = applied(settings, Schedule("0 4 * * *"))
    assert [each.stored for each in outcome.drift] == ["0 3 * * * (Celery's rules)"]
    reset(JOB)
    assert (stored().policy.dialect, stored().crontab.hour) == ("cron", "4")


def test_secrets_in_an_invalid_declaration_are_masked(settings: Settings) -> None:
    declare(settings, Schedule("0 3 * * *", options={"api_key": "hunter2"}))
    with pytest.raises(DeclarationError) as error:
        sync()
    assert "hunter2" not in str(error.value)


# Removed from the code


def test_what_the_code_no_longer_declares_is_disabled_and_kept_with_its_history(settings: Settings) -> None:
    applied(settings, DAILY)
    run = Run.objects.create(job=JOB, schedule=stored(), schedule_name=JOB, trigger=Trigger.SCHEDULE)
    (outcome,) = applied(settings)
    assert (outcome.action, [each.field for each in outcome.changes]) == (Action.ORPHAN, ["enabled"])
    assert stored().enabled is False
    assert DeclaredSchedule.objects.get(name=JOB).orphaned_at is not None
    assert not NextSlot.objects.filter(schedule=stored()).exists()
    run.refresh_from_db()
    assert run.schedule == stored()
    assert actions(applied(settings)) == {JOB: Action.LEAVE_ORPHANED}


def test_it_comes_back_to_life_with_its_edits_when_it_is_declared_again(settings: Settings) -> None:
    applied(settings, DAILY)
    edit(queue="slow")
    applied(settings)
    pk = stored().pk
    (outcome,) = applied(settings, Schedule("0 4 * * *"))
    assert outcome.action is Action.REVIVE
    assert (stored().pk, stored().enabled, stored().queue) == (pk, True, "slow")
    assert stored().crontab.hour == "4"
    assert DeclaredSchedule.objects.get(name=JOB).orphaned_at is None
    assert state_of()["enabled"] is State.SAME


def test_one_that_a_user_had_disabled_before_stays_disabled(settings: Settings) -> None:
    applied(settings, DAILY)
    edit(enabled=False)
    applied(settings)
    applied(settings, DAILY)
    assert stored().enabled is False
    assert state_of()["enabled"] is State.EDITED


def test_one_that_a_user_enables_again_stays_enabled(settings: Settings) -> None:
    applied(settings, DAILY)
    applied(settings)
    edit(enabled=True)
    for _ in range(2):
        applied(settings)
    assert stored().enabled is True


def test_a_job_that_cannot_be_imported_at_the_moment_keeps_its_schedules(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied(settings, DAILY)
    failure = registry.ImportFailure(module=f"probes.management.commands.{JOB}", error="ImportError: no")
    monkeypatch.setattr(registry, "import_failures", lambda: (failure,))
    assert applied(settings) == []
    assert stored().enabled is True


# Environments


@pytest.mark.parametrize(("environment", "expected"), [("production", True), ("staging", False), ("", False)])
def test_a_schedule_can_be_enabled_in_some_environments_only(
    settings: Settings, environment: str, expected: bool
) -> None:
    override(settings, ENVIRONMENT=environment, ENVIRONMENTS=["production", "staging"])
    applied(settings, Schedule("0 3 * * *", only_in=("production",)))
    assert stored().enabled is expected


def test_a_copy_of_the_database_follows_its_own_environment(settings: Settings) -> None:
    override(settings, ENVIRONMENT="production", ENVIRONMENTS=["production", "staging"])
    applied(settings, Schedule("0 3 * * *", only_in=("production",)))
    override(settings, ENVIRONMENT="staging")
    sync()
    assert stored().enabled is False
    edit(enabled=True)
    sync()
    assert stored().enabled is True


# A single time


def spend(settings: Settings) -> Schedule:
    once = Schedule(at=datetime(2030, 1, 1, tzinfo=UTC))
    applied(settings, once)
    edit(enabled=False, last_run_at=datetime(2030, 1, 1, tzinfo=UTC))
    return once


def test_one_that_has_run_its_only_time_stays_disabled_and_counts_as_no_edit(settings: Settings) -> None:
    once = spend(settings)
    assert applied(settings, once)[0].action is Action.NONE
    assert stored().enabled is False
    assert set(state_of().values()) == {State.SAME}


def test_so_does_one_whose_time_an_edit_has_recorded_before_beat_came(settings: Settings) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    once = Schedule(at=at)
    applied(settings, once)
    ledger.sync([stored().pk], at + timedelta(seconds=1))
    assert applied(settings, once)[0].action is Action.NONE
    assert stored().enabled is False
    assert set(state_of().values()) == {State.SAME}


@pytest.mark.parametrize("how", [sync, lambda: reset(JOB), lambda: back_to_code("timing")])
def test_a_new_time_in_the_code_enables_it_again(settings: Settings, how: Callable[[], object]) -> None:
    spend(settings)
    declare(settings, Schedule(at=datetime(2031, 1, 1, tzinfo=UTC)))
    how()
    assert (stored().enabled, stored().last_run_at) == (True, None)
    slot = NextSlot.objects.get(schedule=stored()).slot
    assert slot == datetime(2031, 1, 1, tzinfo=UTC)


def test_stored_times_that_are_not_valid_are_an_edit_that_is_named(settings: Settings) -> None:
    applied(settings, Schedule(every=timedelta(minutes=15)))
    IntervalSchedule.objects.update(period="fortnights")
    outcomes = applied(settings, Schedule(every=timedelta(minutes=20)))
    assert drift(outcomes) == [("timing", "900 fortnights (not valid)", "every 20 min")]


# Resolving drift


def back_to_code(field: str) -> None:
    resolve(DeclaredSchedule.objects.get(name=JOB).pk, field, is_code_right=True)


def drifted(settings: Settings) -> None:
    applied(settings, DAILY)
    edit(queue="slow", priority=5)
    applied(settings, Schedule("0 3 * * *", queue="fast", priority=7))


def test_a_single_field_can_go_back_to_the_code(settings: Settings) -> None:
    drifted(settings)
    back_to_code("queue")
    assert (stored().queue, stored().priority) == ("fast", 5)
    assert drift(of_job(sync())) == [("priority", "5", "7")]


def test_the_stored_value_of_a_field_can_be_kept_for_good(settings: Settings) -> None:
    drifted(settings)
    resolve(DeclaredSchedule.objects.get(name=JOB).pk, "queue", is_code_right=False)
    (outcome,) = of_job(sync())
    assert stored().queue == "slow"
    assert ([each.field for each in outcome.edited], drift([outcome])) == (
        ["queue"],
        [("priority", "5", "7")],
    )


def test_all_fields_can_go_back_to_the_code(settings: Settings) -> None:
    drifted(settings)
    outcome = reset(JOB)
    assert [each.field for each in outcome.changes] == ["queue", "priority"]
    assert (stored().queue, stored().priority) == ("fast", 7)
    assert not of_job(sync())[0].needs_attention


def test_a_schedule_can_be_reset_by_the_name_that_it_has_in_the_admin(settings: Settings) -> None:
    drifted(settings)
    edit(name="mine")
    assert reset("mine").name == JOB
    assert stored("mine").queue == "fast"


def test_a_schedule_that_is_not_declared_cannot_be_reset(settings: Settings) -> None:
    declare(settings, DAILY)
    with pytest.raises(
        UnknownScheduleError, match=r"No schedule 'plain_prob' is declared.*Did you mean plain"
    ):
        reset("plain_prob")


# Schedules that are not ours


def test_one_of_another_job_with_the_same_name_is_left_alone(settings: Settings) -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    other = PeriodicTask.objects.create(name=JOB, task="probes.probe", interval=every)
    assert actions(applied(settings, DAILY)) == {JOB: Action.NAME_TAKEN}
    assert stored().task == "probes.probe"
    PeriodicTask.objects.filter(pk=other.pk).update(name="other")
    assert actions(applied(settings, DAILY)) == {JOB: Action.CREATE}


def test_one_of_the_same_job_is_adopted_and_its_differences_are_drift(settings: Settings) -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    made = PeriodicTask.objects.create(name=JOB, task=registry.all_jobs()[JOB].task_name, interval=every)
    (outcome,) = applied(settings, Schedule("0 3 * * *", queue="slow", description=""))
    assert outcome.action is Action.NONE
    assert [each.field for each in outcome.drift] == ["timing", "timezone", "queue"]
    reset(JOB)
    assert (stored().pk, stored().queue) == (made.pk, "slow")


def test_one_of_the_stock_scheduler_keeps_its_meaning_until_it_is_reset(settings: Settings) -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3")
    PeriodicTask.objects.create(name=JOB, task=registry.all_jobs()[JOB].task_name, crontab=crontab)
    SchedulePolicy.objects.filter(schedule=stored()).delete()
    (outcome,) = applied(settings, Schedule("0 3 * * *", queue="slow", description=""))
    assert [each.stored for each in outcome.drift] == ["0 3 * * * (Celery's rules)", ""]
    reset(JOB)
    assert (stored().policy.dialect, stored().queue) == ("cron", "slow")
    assert not of_job(sync())[0].needs_attention


def test_one_that_belongs_to_another_declaration_is_not_adopted(settings: Settings) -> None:
    applied(settings, Schedule("0 3 * * *", name="one"))
    edit("one", name="two")
    found = actions(applied(settings, Schedule("0 3 * * *", name="one"), Schedule("0 5 * * *", name="two")))
    assert found == {"one": Action.NONE, "two": Action.NAME_TAKEN}


def test_a_schedule_whose_times_cannot_be_read_is_left_as_it_is_and_can_be_reset(settings: Settings) -> None:
    applied(settings, DAILY)
    own = CrontabSchedule.objects.create(minute="1")
    edit(crontab=own)
    with connection.cursor() as cursor:
        sql = "UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus' WHERE id = %s"
        cursor.execute(sql, [own.pk])
    (outcome,) = applied(settings, Schedule("0 3 * * *", queue="slow"))
    assert [(each.field, each.stored) for each in outcome.edited] == [
        ("timing", "not valid"),
        ("timezone", ""),
    ]
    assert PeriodicTask.objects.values_list("queue", flat=True).get(name=JOB) == "slow"
    reset(JOB)
    assert stored().crontab.hour == "3"


@pytest.mark.parametrize("text", ["{", "[]", "5"])
def test_options_that_cannot_be_read_are_an_edit(settings: Settings, text: str) -> None:
    applied(settings, DAILY)
    edit(kwargs=text)
    (outcome,) = applied(settings, DAILY)
    assert [(each.field, each.stored) for each in outcome.edited] == [("options", text)]


# Nothing by halves


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(settings: Settings) -> None:
    applied(settings, DAILY, Schedule("0 3 * * *", name="gone"))
    edit(queue="slow")
    declare(settings, Schedule("0 4 * * *", queue="fast"), Schedule("0 3 * * *", name="new"))
    before = everything()
    planned = of_job(sync(dry_run=True))
    assert everything() == before
    assert planned == of_job(sync())
    assert actions(planned) == {JOB: Action.CHANGE, "new": Action.CREATE, "gone": Action.ORPHAN}


def test_an_invalid_declaration_stops_before_anything_is_changed(settings: Settings) -> None:
    applied(settings, DAILY)
    before = everything()
    declare(settings, Schedule("0 4 * * *"), Schedule("0 3 * *", name="bad"), Schedule("0 3 * * *", name="n"))
    with pytest.raises(
        DeclarationError,
        match=r"schedule 'bad' of job plain_probe: cron: the expression has 4 fields, cron has 5.*Examples: ",
    ):
        sync()
    with pytest.raises(DeclarationError):
        reset(JOB)
    assert everything() == before


def test_an_error_in_one_schedule_leaves_it_as_it_was(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied(settings, DAILY)
    before = everything()
    declare(settings, Schedule("0 4 * * *", queue="slow"))

    def fails(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("jobledger.schedules.due.ledger.sync", fails)
    with pytest.raises(OSError, match="disk full"):
        sync()
    assert everything() == before


def test_a_schedule_that_another_process_has_just_created_is_merged_with(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(settings, DAILY)
    original, calls = syncing._create, []

    def overtaken(*args: Any, **kwargs: Any) -> Outcome:
        calls.append(args)
        if len(calls) == 1:
            raise IntegrityError("name")
        return original(*args, **kwargs)

    monkeypatch.setattr(syncing, "_create", overtaken)
    assert actions(of_job(sync())) == {JOB: Action.CREATE}
