"""Planned runs in the timeline, to the right of now."""

import html
import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.admin.display import RunUrls
from jobledger.admin.home import planned, timeline
from jobledger.admin.home.planned import PlannedMark, ScheduleUrls, planned_runs
from jobledger.admin.home.timeline import MIN_BAR_WIDTH, WIDTH, JobRow, TimeAxis
from jobledger.models import NextSlot
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.unit.builders import utc
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
AXIS = TimeAxis(begin=NOON - 24 * HOUR, now=NOON, end=NOON + 6 * HOUR)


def sync(schedule: PeriodicTask) -> PeriodicTask:
    """The schedule as if beat had processed it at noon."""
    NextSlot.objects.filter(pk=schedule.pk).update(handled_until=NOON, due_at=NOON + MINUTE)
    return schedule


def marks() -> list[PlannedMark]:
    return list(planned_runs(AXIS.spans_ahead()).marks)


def draw(*found: PlannedMark, axis: TimeAxis = AXIS) -> str:
    return html.unescape(timeline.svg([JobRow(job="probe", planned=found)], axis, "Runs", RunUrls()))


def test_a_planned_run_has_a_mark_with_a_title_and_a_link_to_its_schedule() -> None:
    schedule = sync(hourly("nightly", minute="30"))
    found = marks()
    assert [mark.first for mark in found] == [NOON + HOUR / 2 + HOUR * place for place in range(6)]
    assert found[0].title == "probe: planned for 2026-03-02 12:30:00 UTC by the schedule “nightly”"
    assert ScheduleUrls().of(found[0]) == reverse(
        "admin:django_celery_beat_periodictask_change", args=[schedule.pk]
    )


def test_overlapping_marks_of_several_schedules_are_joined_and_link_to_the_list() -> None:
    for name, minute in (("a", "30"), ("b", "31"), ("c", "30"), ("d", "32")):
        sync(hourly(name, minute=minute))
    (first, *_rest) = marks()
    assert (first.first, first.count) == (NOON + 30 * MINUTE, 4)
    assert first.title.startswith("probe: 4 runs planned between 2026-03-02 12:30:00 UTC and 2026-03-02 12:3")
    assert first.title.endswith(" by the schedules “a”, “b” and 2 more")
    assert ScheduleUrls().of(first) == "/admin/django_celery_beat/periodictask/?job=probes.probe"


def test_a_schedule_that_is_due_every_second_is_one_mark() -> None:
    sync(every(1))
    (mark,) = marks()
    assert mark.count == 6 * 3600 - 1
    assert draw(mark).count("<rect") == 1


def test_schedules_of_one_job_of_which_one_never_rests_are_one_mark() -> None:
    sync(every(10, "probing"))
    for number in range(30):
        sync(hourly(f"number {number}", minute="*/5"))
    (mark,) = marks()
    # Those at noon itself are on record.
    assert mark.count == 6 * (360 + 30 * 12) - 31


def test_a_mark_is_to_the_right_of_now_and_inside_the_frame() -> None:
    sync(hourly(minute="59"))
    found = marks()
    rects = re.findall(
        r'<rect class="bar bar-planned" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', draw(*found)
    )
    assert len(rects) == len(found) == 6
    assert [float(x) >= AXIS.x(NOON) for x, _width in rects] == [True] * 6
    assert all(float(x) + float(width) <= WIDTH for x, width in rects)


def test_the_axis_labels_now_and_omits_hours_close_to_it() -> None:
    assert '<text class="hour hour-now"' in draw()
    # That of the day before is at the other end.
    assert draw().count(">12:00<") == 1
    assert ">15:00<" in draw()
    only_past = TimeAxis(begin=NOON - 24 * HOUR, now=NOON, end=NOON)
    assert "hour-now" not in draw(axis=only_past)


def test_spans_have_the_minimum_bar_width_despite_clock_changes() -> None:
    paris = ZoneInfo("Europe/Paris")
    now = datetime(2026, 3, 29, 1, tzinfo=paris)
    axis = TimeAxis(
        begin=datetime(2026, 3, 28, 1, tzinfo=paris), now=now, end=datetime(2026, 3, 29, 8, tzinfo=paris)
    )
    edges = axis.spans_ahead()
    assert edges[0] == utc(2026, 3, 29, 0)
    assert edges[-2] < edges[-1] == utc(2026, 3, 29, 6)
    assert axis.x(edges[1]) - axis.x(edges[0]) == pytest.approx(MIN_BAR_WIDTH)


def test_planned_runs_require_permission_to_view_schedules(client: Client) -> None:
    every(60, "often")
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    page = client.get(reverse("admin:home_timeline")).text
    assert "No runs in this period." in page
    user.user_permissions.add(Permission.objects.get(codename="view_periodictask"))
    page = client.get(reverse("admin:home_timeline")).text
    assert 'aria-label="Runs of the last 1 d, and planned for the next 6 h"' in page
    assert "by the schedule “often”" in page
    assert "planned</span>" in page


def test_the_legend_says_if_not_all_schedules_are_included(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    every(60, "often")
    every(60, "as often")
    monkeypatch.setattr(planned, "MAX_SCHEDULES", 1)
    assert "planned, for the schedules that are due first" in admin_client.get("/admin/home/timeline/").text


def test_a_paused_service_has_no_planned_runs(admin_client: Client) -> None:
    every(60, "often")
    assert "bar bar-planned" in admin_client.get("/admin/home/timeline/").text
    pausing.pause(None, Terms(until=timezone.now() + 7 * HOUR), now=timezone.now())
    assert "bar bar-planned" not in admin_client.get("/admin/home/timeline/").text
