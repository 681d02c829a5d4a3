"""The week view: counts per hour of local time, and the busiest and quietest hours."""

import html
import re
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.schedules import week
from jobledger.admin.schedules.week import Week, week_ahead
from jobledger.models import NextSlot
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger
from jobledger.schedules.pausing import Terms
from tests.unit.builders import utc
from tests.unit.jobledger.admin.schedules.schedules import LIST, member
from tests.unit.jobledger.schedules.builders import NOON, every, hourly, limited_by
from tests.unit.jobledger.schedules.chains.builders import follower

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

HOUR = timedelta(hours=1)
WEEK = "admin:jobledger_week"


def sync(schedule: PeriodicTask, since: datetime = NOON) -> PeriodicTask:
    """The schedule as if beat had processed it at this time."""
    NextSlot.objects.filter(pk=schedule.pk).update(handled_until=since, due_at=since + HOUR / 60)
    return schedule


def daily(name: str, hour: str, minute: str = "0") -> PeriodicTask:
    crontab = CrontabSchedule.objects.create(minute=minute, hour=hour)
    schedule: PeriodicTask = PeriodicTask.objects.create(name=name, task="probes.probe", crontab=crontab)
    return sync(schedule)


def counts(found: Week, day: date) -> list[int | None]:
    row = dict(found.days)[day]
    return [None if hour is None else hour.count for hour in row]


def test_starts_are_counted_for_each_hour_of_seven_days() -> None:
    sync(hourly(minute="*/10"))
    found = week_ahead(NOON + HOUR / 2)
    assert [day for day, _hours in found.days] == [NOON.date() + timedelta(days=n) for n in range(8)]
    assert len(found.hours) == 7 * 24
    assert counts(found, NOON.date()) == [None] * 12 + [3] + [6] * 11
    assert counts(found, NOON.date() + timedelta(days=7)) == [6] * 12 + [None] * 12


def test_hours_are_local_even_if_the_utc_offset_has_half_hours(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    daily("at noon in UTC", "12")
    daily("half an hour later", "12", "30")
    found = week_ahead(NOON + HOUR)
    assert counts(found, date(2026, 3, 3))[17:19] == [1, 1]


def test_repeated_hours_are_combined_and_skipped_hours_are_empty(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/London"
    autumn, spring = utc(2026, 10, 24, 12), utc(2026, 3, 28, 12)
    schedule = sync(hourly(), autumn)
    assert counts(week_ahead(autumn), date(2026, 10, 25))[:4] == [1, 2, 1, 1]
    sync(schedule, spring)
    found = week_ahead(spring)
    assert counts(found, date(2026, 3, 29))[:4] == [1, None, 1, 1]
    assert len(found.hours) == 7 * 24 - 1


def test_a_cell_names_the_busiest_schedules_and_counts_the_others() -> None:
    for number in range(8):
        daily(f"number {number}", "15")
    sync(hourly("often", minute="*/5"))
    (hour,) = [hour for hour in week_ahead(NOON).hours if hour.key == "2026-03-02T15"]
    assert hour.title.startswith("Mon 02 Mar, 15:00 to 16:00: 20 starts. often (12), number ")
    assert hour.title.endswith(" (1) and 3 more")


def test_the_quietest_and_busiest_hours_are_summarized() -> None:
    daily("a", "4-23")
    daily("b", "9,10")
    found = week_ahead(NOON)
    assert found.quietest == "Tue 03 Mar, 00:00 to 04:00 (4 hours), no starts"
    assert found.busiest is not None
    assert (found.busiest.name, found.busiest.starts) == ("Tue 03 Mar, 09:00 to 10:00", "2 starts")
    assert found.constant == ""


def test_schedules_that_run_every_hour_do_not_hide_the_others() -> None:
    sync(every(1, "every second"))
    daily("nightly", "2", "*/2")
    sync(hourly("hourly"))
    found = week_ahead(NOON)
    assert found.constant == "2 schedules start runs in every hour: every second (3,600), hourly (1)"
    assert found.quietest == "Tue 03 Mar, 03:00 to Wed 04 Mar, 02:00 (23 hours), at most 3,601 starts an hour"
    levels = {hour.hour: hour.level for hour in found.hours[1:]}
    assert (levels[1], levels[2]) == (1, 5)
    assert {hour.short_count for hour in found.hours[1:]} == {"3.6k"}


def test_without_starts_there_is_no_summary() -> None:
    found = week_ahead(NOON)
    assert (found.busiest, {hour.level for hour in found.hours}) == (None, {0})


def test_a_paused_service_has_no_starts_until_the_pause_ends() -> None:
    pausing.pause(None, Terms(until=NOON + 24 * HOUR), now=NOON)
    sync(hourly())
    found = week_ahead(NOON)
    assert counts(found, NOON.date()) == [None] * 12 + [0] * 12
    assert counts(found, NOON.date() + timedelta(days=1)) == [0] * 12 + [1] * 12


def open_a_full_hour(client: Client, page: str) -> str:
    """The page that the second cell with starts links to: of the first hour, only seconds may be left."""
    links = re.findall(r'href="(\?hour=[^"]+)"', page)
    return client.get(reverse(WEEK) + html.unescape(links[1])).text


def test_a_selected_hour_lists_its_schedules_with_links(client: Client) -> None:
    member(client, "Job viewers")
    schedule = every(1, "<often>")
    every(60, "less often")
    page = client.get(reverse(WEEK)).text
    assert "Select an hour" in page
    page = open_a_full_hour(client, page)
    address = reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])
    assert f'<a href="{address}">&lt;often&gt;</a>' in page
    assert page.index("&lt;often&gt;</a>") < page.index("less often</a>")
    assert page.count('aria-current="true"') == 1


@pytest.mark.parametrize("hour", ["soon", "2001-01-01T03", "\x00"])
def test_an_hour_outside_the_week_is_ignored(admin_client: Client, hour: str) -> None:
    answer = admin_client.get(reverse(WEEK), {"hour": hour})
    assert answer.status_code == 200
    assert "Select an hour" in answer.text


def test_the_list_of_schedules_links_to_the_week_view(admin_client: Client) -> None:
    assert f'<a href="{reverse(WEEK)}">Week</a>' in admin_client.get(reverse(LIST)).text
    page = admin_client.get(reverse(WEEK)).text
    assert "No runs are planned for the next seven days." in page
    assert re.search(r"<a[^>]+aria-current=\"page\">Schedules</a>", page)


def test_the_week_view_requires_permission_to_view_schedules(client: Client) -> None:
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    assert client.get(reverse(WEEK)).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    assert client.get(reverse(WEEK)).status_code == 200
    assert client.post(reverse(WEEK)).status_code == 405


def test_the_number_of_queries_is_constant(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    crontab = CrontabSchedule.objects.create(minute="*")
    schedules = [PeriodicTask(name=f"number {n}", task="probes.probe", crontab=crontab) for n in range(100)]
    PeriodicTask.objects.bulk_create(schedules)
    ledger.sync([each.pk for each in schedules], timezone.now())
    hour = {"hour": week_ahead(timezone.now()).hours[5].key}
    with django_assert_max_num_queries(7):
        assert "number 99" in admin_client.get(reverse(WEEK), hour).text


def test_the_page_says_if_not_all_schedules_are_counted(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(week, "MAX_SCHEDULES", 1)
    every(60, "often")
    assert "Only the" not in admin_client.get(reverse(WEEK)).text
    every(60, "as often")
    assert "Only the 1 schedules that are due first are counted." in admin_client.get(reverse(WEEK)).text


def test_what_calendars_leave_out_is_not_counted_but_listed(
    clock: time_machine.Traveller, admin_client: Client
) -> None:
    schedule = daily("nightly", "3")
    tomorrow = timezone.localdate() + timedelta(days=1)
    limited_by(schedule, f"{tomorrow} # stocktaking")
    clock.shift(HOUR)
    ledger.sync([schedule.pk], timezone.now())
    text = admin_client.get(reverse(WEEK)).text
    assert sum(hour.count for hour in week_ahead(timezone.now()).hours) == 6
    assert "Left out by calendars" in text
    assert f"{tomorrow} 03:00" in text
    assert "stocktaking (closed nightly)" in text


def test_the_page_says_how_many_more_there_are_than_it_lists(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(week, "LISTED", 1)
    tomorrow = timezone.localdate() + timedelta(days=1)
    schedules = [limited_by(daily(f"nightly {number}", "3"), str(tomorrow)) for number in range(2)]
    for number in range(3):
        follower(schedules[0].name, since=NOON, name=f"then {number}")
    ledger.sync([schedule.pk for schedule in schedules], timezone.now())
    chained, left_out = admin_client.get(reverse(WEEK)).text.split('id="week-left-out"')
    assert "and 2 more schedules" in chained.split('id="week-chains"')[1]
    assert "and 1 more schedule<" in left_out
