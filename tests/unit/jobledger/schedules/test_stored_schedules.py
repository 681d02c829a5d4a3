"""Times are stored in rows that schedules may share; editing one schedule never changes another."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobledger.schedules import stored_schedules, stored_times
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.interval import Clocked, Interval
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.stored_times import (
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)
from tests.unit.jobledger.schedules.builders import NOON, hourly

LONDON = ZoneInfo("Europe/London")
NIGHTLY = CronTimes(expression="30 3 * * mon-fri", zone=LONDON)
ALL_KINDS: list[StoredTimes] = [
    NIGHTLY,
    IntervalTimes(every=5, period="minutes"),
    ClockedTimes(at=datetime(2026, 12, 1, 3, tzinfo=UTC)),
    SolarTimes(event="sunset", latitude=Decimal("51.5"), longitude=Decimal("-0.12")),
]


def given(schedule: PeriodicTask, times: StoredTimes) -> PeriodicTask:
    stored_schedules.assign(schedule, times)
    schedule.save()
    return PeriodicTask.objects.get(pk=schedule.pk)


@pytest.mark.django_db
@pytest.mark.parametrize("times", ALL_KINDS)
def test_times_are_read_as_they_were_assigned(times: StoredTimes) -> None:
    assert stored_schedules.of(given(hourly(), times)) == times


@pytest.mark.django_db
def test_editing_one_schedule_never_changes_another() -> None:
    one = hourly()
    other = PeriodicTask.objects.create(name="other", task="probes.probe", crontab=one.crontab)
    given(one, NIGHTLY)
    other.refresh_from_db()
    assert (other.crontab.minute, CrontabSchedule.objects.count()) == ("0", 2)


@pytest.mark.django_db
@pytest.mark.parametrize("times", ALL_KINDS)
def test_equal_times_share_a_row(times: StoredTimes) -> None:
    for name in ("one", "other"):
        given(hourly(name), times)
    models = (CrontabSchedule, IntervalSchedule, ClockedSchedule, SolarSchedule)
    # Besides the two that the schedules had at first.
    assert sum(model.objects.count() for model in models) == 3


@pytest.mark.django_db
def test_unchanged_times_keep_their_row() -> None:
    CrontabSchedule.objects.create(minute="0", timezone=ZoneInfo("UTC"))
    schedule = hourly()
    row = schedule.crontab_id
    assert given(schedule, CronTimes(expression="0 * * * *", zone=ZoneInfo("UTC"))).crontab_id == row


@pytest.mark.django_db
def test_spaces_in_a_field_make_no_difference() -> None:
    schedule = hourly(minute="0, 30")
    row = schedule.crontab_id
    assert given(schedule, CronTimes(expression="0,30 * * * *", zone=ZoneInfo("UTC"))).crontab_id == row


def test_an_empty_field_can_be_read_but_is_not_a_valid_cron() -> None:
    schedule = PeriodicTask(crontab=CrontabSchedule(pk=1, minute="", timezone=LONDON))
    times = stored_schedules.of(schedule)
    assert times == CronTimes(expression="? * * * *", zone=LONDON)
    with pytest.raises(RuleError, match="minute: '\\?' is not supported; use \\* for every value"):
        stored_times.rule_from(times, NOON)


@pytest.mark.django_db
def test_the_same_times_in_another_zone_are_different() -> None:
    schedule = given(hourly(), CronTimes(expression="0 * * * *", zone=LONDON))
    assert (CrontabSchedule.objects.count(), schedule.crontab.timezone) == (2, LONDON)


@pytest.mark.django_db
def test_a_macro_is_stored_as_its_expansion() -> None:
    times = given(hourly(), CronTimes(expression="@daily", zone=LONDON))
    assert stored_schedules.of(times) == CronTimes(expression="0 0 * * *", zone=LONDON)


@pytest.mark.django_db
def test_changing_the_kind_of_times_deletes_no_row() -> None:
    schedule = given(hourly(), IntervalTimes(every=1, period="hours"))
    assert (schedule.crontab, CrontabSchedule.objects.count()) == (None, 1)


@pytest.mark.django_db
def test_a_clocked_schedule_is_one_off() -> None:
    assert given(hourly(), ClockedTimes(at=NOON)).one_off


def test_times_are_converted_to_rules() -> None:
    rules = [stored_times.rule_from(times, NOON) for times in ALL_KINDS[:3]]
    assert [type(rule) for rule in rules] == [Cron, Interval, Clocked]


@pytest.mark.parametrize(
    ("times", "field"),
    [
        (CronTimes(expression="30 25 * * *", zone=LONDON), "hour"),
        (CronTimes(expression="30 3 * *", zone=LONDON), "expression"),
        (CronTimes(expression=f"{'1,' * 200}1 3 * * *", zone=LONDON), "minute"),
        (IntervalTimes(every=10**12, period="days"), "every"),
        (IntervalTimes(every=1, period="lightyears"), "every"),
        (SolarTimes(event="sunset", latitude=Decimal(91), longitude=Decimal(0)), "latitude"),
    ],
)
def test_invalid_times_name_the_field(times: StoredTimes, field: str) -> None:
    with pytest.raises(RuleError) as raised:
        stored_times.validated(times, NOON)
    assert raised.value.field == field


def test_a_schedule_without_times_has_none() -> None:
    assert stored_schedules.of(PeriodicTask()) is None


@pytest.fixture
def many() -> list[PeriodicTask]:
    """More schedules, each with times of its own, than SQLite allows conditions in a statement."""
    crontabs = CrontabSchedule.objects.bulk_create(CrontabSchedule(timezone=LONDON) for _ in range(1100))
    tasks = (PeriodicTask(name=f"schedule {each.pk}", task="probes.probe", crontab=each) for each in crontabs)
    return list(PeriodicTask.objects.bulk_create(tasks))


@pytest.mark.django_db
def test_thousands_of_schedules_are_loaded_at_once(many: list[PeriodicTask]) -> None:
    assert len(stored_schedules.load([each.pk for each in many]).schedules) == len(many)


@pytest.mark.django_db
def test_the_times_of_thousands_of_schedules_are_read_in_few_statements(
    many: list[PeriodicTask], django_assert_max_num_queries: Any
) -> None:
    loaded = list(PeriodicTask.objects.filter(pk__in=[each.pk for each in many]))
    with django_assert_max_num_queries(5):
        stored_schedules.prefetch_times(loaded)
        assert {each.crontab.timezone for each in loaded} == {LONDON}
