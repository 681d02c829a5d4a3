"""Calendars are valid iCalendar files with the runs that beat will start, as a real parser reads them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import icalendar
import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger.admin.schedules import changes
from jobledger.feeds import calendar as feeds_calendar
from jobledger.feeds import recent
from jobledger.feeds.calendar import written
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Feed, NextSlot, SchedulePolicy, Status
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger
from jobledger.schedules.pausing import Terms
from tests.unit.builders import NOON, override
from tests.unit.jobledger.feeds.builders import calendar, cron, path_of, run, user
from tests.unit.jobledger.schedules.builders import limited_by

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def events(feed: Feed) -> list[Any]:
    feed = Feed.objects.select_related("schedule").get(pk=feed.pk)
    parsed: Any = icalendar.Calendar.from_ical(written(feed, timezone.now()))
    assert (parsed["VERSION"], parsed["METHOD"]) == ("2.0", "PUBLISH")
    assert not parsed.errors
    found = list(parsed.walk("VEVENT"))
    assert len({str(event["UID"]) for event in found}) == len(found)
    assert all(event["DTEND"].dt > event["DTSTART"].dt and "DTSTAMP" in event for event in found)
    return found


def starts(feed: Feed) -> list[datetime]:
    return [event["DTSTART"].dt for event in events(feed)]


def at(day: int, hour: int, minute: int = 0, *, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_a_schedules_next_runs_are_events() -> None:
    feed = calendar(schedule=cron("30 3 * * *", name="nightly; with, commas\\"))
    first, *others = events(feed)
    assert first["DTSTART"].dt == at(2, 3, 30)
    assert first["DTEND"].dt == at(2, 3, 31)
    assert first["SUMMARY"] == "nightly; with, commas\\"
    assert "Job: probe" in first["DESCRIPTION"]
    assert "Scheduled for 2026-03-02 03:30:00 UTC" in first["DESCRIPTION"]
    assert len(others) == 30  # until the end of a day, at least 31 days


def test_times_are_right_when_the_clocks_change() -> None:
    """In Berlin on 29 March, from 2:00 to 3:00: a run at 2:30 starts at the end of the gap."""
    feed = calendar(schedule=cron("30 2 * * *", zone="Europe/Berlin"))
    found = [start for start in starts(feed) if start.day in (28, 29, 30) and start.month == 3]
    assert found == [at(28, 1, 30), at(29, 1, 0), at(30, 0, 30)]


def test_an_event_lasts_as_long_as_runs_usually_do() -> None:
    schedule = cron()
    for minutes in 10, 20, 30:
        run(started_at=NOON - minutes * MINUTE)
    run(Status.FAILED, started_at=NOON - 5 * HOUR)
    first, *_ = events(calendar(schedule=schedule))
    assert first["DTEND"].dt - first["DTSTART"].dt == 20 * MINUTE


def test_events_keep_their_ids_and_the_file_stays_the_same(clock: time_machine.Traveller) -> None:
    feed = calendar(schedule=cron())
    before, ids = written(feed, NOON), [event["UID"] for event in events(feed)]
    clock.shift(10 * HOUR)
    assert written(feed, timezone.now()) == before
    clock.shift(10 * HOUR)
    later = [event["UID"] for event in events(feed)]
    assert later[:-1] == ids[1:]


def test_the_jitter_delays_an_event_but_keeps_its_id() -> None:
    schedule = cron(pk=1_000_001)
    feed = calendar(schedule=schedule)
    (before, *_) = events(feed)
    schedule.policy.jitter = HOUR
    schedule.policy.save()
    (after, *_) = events(feed)
    assert at(2, 3) < after["DTSTART"].dt < at(2, 4)
    assert after["UID"] == before["UID"]


@pytest.mark.parametrize(
    ("on_resume", "first"),
    [(PausedSlots.SKIP, at(6, 3)), (PausedSlots.RUN_ONCE, at(5, 12))],
)
def test_a_pause_leaves_out_what_it_skips(on_resume: PausedSlots, first: datetime) -> None:
    schedule = cron()
    feed = calendar(schedule=schedule)
    pausing.pause(schedule, Terms(until=NOON + 4 * DAY, on_resume=on_resume), now=NOON)
    assert starts(feed)[:2] == [first, at(6, 3) if first.hour == 12 else at(7, 3)]


def test_a_frequent_schedule_goes_on_after_a_long_pause() -> None:
    schedule = cron("* * * * *")
    feed = calendar(schedule=schedule)
    pausing.pause(schedule, Terms(until=NOON + 20 * DAY), now=NOON)
    assert starts(feed)[0] in (at(21, 12), at(21, 12, 1))


def test_what_is_paused_until_resumed_has_no_events() -> None:
    schedule = cron()
    feed = calendar(schedule=schedule)
    pausing.pause(schedule, Terms(until=None), now=NOON)
    assert starts(feed) == []


@pytest.mark.parametrize(
    ("is_moved", "expected"), [(False, [at(9, 3), at(16, 3)]), (True, [at(4, 3), at(9, 3)])]
)
def test_calendars_are_respected(is_moved: bool, expected: list[datetime]) -> None:
    schedule = limited_by(cron("0 3 * * 1"), "2026-03-02\n2026-03-03", moved=is_moved)
    ledger.sync([schedule.pk], NOON)
    assert starts(calendar(schedule=schedule))[:2] == expected


def test_disabled_broken_and_unreadable_schedules_have_no_events() -> None:
    cron(name="disabled", enabled=False)
    broken = cron(name="broken")
    NextSlot.objects.filter(pk=broken.pk).update(due_at=None, slot=None, broken="no such task")
    cron(name="fine")
    assert {str(event["SUMMARY"]) for event in events(calendar())} == {"fine"}


def test_a_single_time_is_a_single_event() -> None:
    once = ClockedSchedule.objects.create(clocked_time=NOON + DAY)
    schedule = PeriodicTask.objects.create(name="once", task="probes.probe", clocked=once, one_off=True)
    ledger.sync([schedule.pk], NOON)
    assert starts(calendar(schedule=schedule)) == [NOON + DAY]


def test_the_number_of_events_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = cron("* * * * *", name="every minute")
    every = IntervalSchedule.objects.create(every=1, period="seconds")
    second = PeriodicTask.objects.create(name="every second", task="probes.probe", interval=every)
    ledger.sync([second.pk], NOON)
    cron()
    assert len(events(calendar(schedule=schedule))) == feeds_calendar.MAX_EVENTS
    found = [str(event["SUMMARY"]) for event in events(calendar())]
    counts = {name: found.count(name) for name in ("every second", "every minute", "nightly")}
    assert counts == {"every second": 25, "every minute": 25, "nightly": 25}
    PeriodicTask.objects.exclude(pk=schedule.pk).delete()
    assert len(events(calendar(job="probe"))) == feeds_calendar.MAX_EVENTS
    monkeypatch.setattr(feeds_calendar, "MAX_EVENTS", 30)
    assert len(events(calendar())) == 30


def test_a_jobs_calendar_has_its_schedules_alone() -> None:
    cron(name="mine")
    cron(name="other", task="probes.lasting")
    assert {str(event["SUMMARY"]) for event in events(calendar(job="probe"))} == {"mine"}
    assert events(calendar(job="gone")) == []


def test_a_calendar_without_events_has_the_component_that_the_standard_requires() -> None:
    parsed: Any = icalendar.Calendar.from_ical(written(calendar(job="gone"), NOON))
    (zone,) = parsed.subcomponents
    assert (zone.name, zone["TZID"]) == ("VTIMEZONE", "UTC")
    assert not parsed.errors


def test_lines_are_folded_and_end_as_the_standard_says() -> None:
    schedule = cron(name="ä" * 200)
    text = written(calendar(schedule=schedule), NOON)
    assert all(len(line) <= 75 for line in text.split(b"\r\n"))
    assert text.count(b"\n") == text.count(b"\r\n")


@pytest.mark.parametrize("name", ["a\nBEGIN:VEVENT", "a\r\nATTACH:x", "a\x1bb"])
def test_a_name_cannot_add_lines(name: str) -> None:
    feed = calendar(schedule=cron())
    PeriodicTask.objects.update(name=name)
    assert all("ATTACH" not in event for event in events(feed))


def test_events_link_to_their_schedule(settings: Settings) -> None:
    override(settings, BASE_URL="https://jobs.example.com")
    schedule = cron()
    first, *_ = events(calendar(schedule=schedule))
    page = f"https://jobs.example.com/admin/django_celery_beat/periodictask/{schedule.pk}/change/"
    assert first["URL"] == page
    assert str(first["UID"]).endswith("@jobs.example.com")


def test_a_calendar_client_loads_it_only_if_it_has_changed(client: Client, settings: Settings) -> None:
    override(settings, FEEDS=True)
    schedule = cron()
    path = path_of(calendar(schedule=schedule))
    first = client.get(path)
    assert first["Content-Type"] == "text/calendar; charset=utf-8"
    assert first["Cache-Control"] == "private, max-age=300"
    again = client.get(path, headers={"if-none-match": f'W/{first["ETag"]}, "other"'})
    assert again.status_code == 304
    PeriodicTask.objects.filter(pk=schedule.pk).update(name="renamed")
    assert client.get(path, headers={"if-none-match": first["ETag"]}).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        lambda schedule: PeriodicTask.objects.update(name="renamed"),
        lambda schedule: changes.set_enabled(user(), PeriodicTask.objects.all(), enabled=False),
        lambda schedule: pausing.pause(schedule, Terms(until=None), now=NOON),
        lambda schedule: pausing.pause(None, Terms(until=NOON + DAY), now=NOON),
        lambda schedule: CrontabSchedule.objects.update(hour="4"),
        lambda schedule: SchedulePolicy.objects.update(jitter=HOUR),
        lambda schedule: limited_by(schedule, "2026-03-02"),
        lambda schedule: NextSlot.objects.update(handled_until=NOON + DAY),
    ],
)
def test_a_change_is_seen_at_once_whichever_process_is_asked(
    change: Callable[[Any], None], client: Client, settings: Settings
) -> None:
    override(settings, FEEDS=True)
    schedule = cron(pk=1_000_001)
    path = path_of(calendar(schedule=schedule))
    before = client.get(path).content
    change(schedule)
    after = client.get(path).content
    recent.clear()
    assert before != after == client.get(path).content


def test_what_was_written_lately_is_not_written_again(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    override(settings, FEEDS=True)
    path = path_of(calendar(schedule=cron()))
    first = client.get(path).content
    monkeypatch.setattr(feeds_calendar, "written", lambda *args: b"again")
    assert client.get(path).content == first
    recent.clear()
    assert client.get(path).content == b"again"


def test_a_calendar_that_was_written_lately_is_not_kept_for_those_who_may_not_read_it(
    client: Client, settings: Settings
) -> None:
    override(settings, FEEDS=True)
    feed = calendar(schedule=cron())
    path = path_of(feed)
    assert client.get(path).status_code == 200
    feed.user.groups.clear()
    assert client.get(path).status_code == 404


def test_few_calendars_are_kept_and_none_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_KEPT", 2)
    recent.clear()
    for key in "abc":
        recent.get(key, "1", key.encode)
    assert recent.get("c", "1", lambda: b"new") == b"c"
    assert recent.get("a", "1", lambda: b"new") == b"new"
    monkeypatch.setattr(recent, "KEPT_SECONDS", 0.0)
    assert recent.get("d", "1", lambda: b"d") == b"d"
    assert recent.get("d", "1", lambda: b"new") == b"new"
