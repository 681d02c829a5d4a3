"""A schedule declared in code is created in the database once; after that, users own it."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger.jobs.declaration import Schedule
from jobledger.models import DeclaredSchedule
from jobledger.schedules import declared, stored_schedules
from jobledger.schedules.stored_schedules import CronTimes
from tests.unit.builders import override

pytestmark = pytest.mark.django_db


def declare(settings: Settings, *schedules: Schedule) -> None:
    override(settings, EXPOSED_COMMANDS={"plain_probe": {"schedules": list(schedules)}})


def test_the_default_schedules_are_created() -> None:
    assert {"clearsessions", "hello", "nightly"} <= set(declared.install())
    nightly = PeriodicTask.objects.get(name="nightly")
    assert (nightly.task, nightly.enabled) == ("tasks_app.nightly", True)
    assert str(nightly.crontab).startswith("0 3 * * *")
    assert PeriodicTask.objects.get(name="clearsessions").task == "sessions.clearsessions"


def test_a_crontab_has_the_declared_zone(settings: Settings) -> None:
    declare(settings, Schedule("30 2 * * 1-5", timezone="Europe/London", name="early"))
    declared.install()
    crontab = PeriodicTask.objects.get(name="early").crontab
    assert (crontab.minute, crontab.hour, crontab.day_of_week) == ("30", "2", "1-5")
    assert str(crontab.timezone) == "Europe/London"


def test_the_default_zone_is_the_projects(settings: Settings) -> None:
    settings.TIME_ZONE = "America/New_York"
    declare(settings, Schedule("0 3 * * *"))
    declared.install()
    assert str(PeriodicTask.objects.get(name="plain_probe").crontab.timezone) == "America/New_York"


def test_an_interval_is_in_whole_seconds(settings: Settings) -> None:
    declare(settings, Schedule(every=timedelta(minutes=15), options={"call_job": True}, enabled=False))
    declared.install()
    schedule = PeriodicTask.objects.get(name="plain_probe")
    assert (schedule.interval.every, schedule.interval.period) == (900, "seconds")
    assert (schedule.kwargs, schedule.enabled) == ('{"call_job": true}', False)


def test_installing_again_creates_nothing() -> None:
    declared.install()
    assert declared.install() == []


def test_schedules_that_users_changed_or_deleted_stay_that_way() -> None:
    declared.install()
    PeriodicTask.objects.filter(name="nightly").update(enabled=False)
    PeriodicTask.objects.get(name="hello").delete()
    declared.install()
    assert PeriodicTask.objects.get(name="nightly").enabled is False
    assert not PeriodicTask.objects.filter(name="hello").exists()
    assert DeclaredSchedule.objects.get(name="hello").schedule is None


def test_an_existing_schedule_of_the_same_name_is_left_alone() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="nightly", task="probes.probe", interval=every)
    assert "nightly" not in declared.install()
    assert PeriodicTask.objects.get(name="nightly").task == "probes.probe"


def test_equal_times_share_a_row(settings: Settings) -> None:
    declare(settings, Schedule("0 0 * * *", name="one"), Schedule("@daily", name="two"))
    declared.install()
    assert CrontabSchedule.objects.get(periodictask__name="one").periodictask_set.count() == 2


def test_an_expression_is_stored_as_the_admin_stores_it(settings: Settings) -> None:
    declare(settings, Schedule("@weekly", name="macro"), Schedule("0  3 * JAN-mar fri-mon", name="names"))
    declared.install()
    found = {schedule.name: stored_schedules.of(schedule) for schedule in PeriodicTask.objects.all()}
    zone = ZoneInfo("UTC")
    assert found["macro"] == CronTimes(expression="0 0 * * 0", zone=zone)
    assert found["names"] == CronTimes(expression="0 3 * jan-mar fri-mon", zone=zone)


def test_an_invalid_declared_schedule_is_an_error_and_leaves_nothing_behind(settings: Settings) -> None:
    declare(settings, Schedule("0 3 * *", name="bad"))
    with pytest.raises(
        declared.DeclarationError,
        match="schedule 'bad' of job plain_probe: the expression has 4 fields, cron has 5",
    ):
        declared.install()
    assert not DeclaredSchedule.objects.filter(name="bad").exists()
