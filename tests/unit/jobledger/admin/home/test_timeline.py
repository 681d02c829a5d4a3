"""The timeline: bars, rows, axis and links."""

import html
import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from jobledger.admin.display import RunUrls
from jobledger.admin.home import timeline
from jobledger.admin.home.timeline import Bar, TimeAxis
from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON

SECOND = timedelta(seconds=1)
DAY = TimeAxis(begin=NOON - timedelta(days=1), now=NOON, end=NOON)
OFFSETS = st.integers(-3600, 90_000)


def a_bar(begin: int = 0, length: int = 0, *, job: str = "probe", status: Status = Status.SUCCEEDED) -> Bar:
    """A run that began so many seconds after the axis did."""
    at = DAY.begin + timedelta(seconds=begin)
    end = at + timedelta(seconds=length)
    return Bar(job=job, status=status, begin=at, end=end, first_queued=at, last_queued=at, run_id=UUID(int=7))


def rows_of(*bars: Bar) -> list[timeline.JobRow]:
    return timeline.job_rows(bars, DAY)


def draw(*bars: Bar) -> str:
    return timeline.svg(rows_of(*bars), DAY, "Runs", RunUrls())


@given(st.lists(st.builds(a_bar, OFFSETS, st.integers(0, 90_000), status=st.sampled_from(Status))))
def test_every_run_is_shown_inside_the_frame(bars: list[Bar]) -> None:
    rows = rows_of(*bars)
    assert sum(bar.count for row in rows for bar in row.bars) == len(bars)
    marks = re.findall(r'<rect class="bar[^"]*" x="(-?[\d.]+)" y="[\d.]+" width="(-?[\d.]+)"', draw(*bars))
    assert len(marks) == sum(len(row.bars) for row in rows)
    for x, width in marks:
        assert float(x) >= timeline.LABEL_WIDTH
        assert float(width) >= timeline.MIN_BAR_WIDTH
        assert float(x) + float(width) <= timeline.WIDTH + timeline.MIN_BAR_WIDTH + 0.1


def test_overlapping_runs_share_a_bar_with_the_worst_status() -> None:
    (row,) = rows_of(a_bar(100), a_bar(105, status=Status.FAILED), a_bar(110))
    (bar,) = row.bars
    assert (bar.count, bar.status) == (3, Status.FAILED)
    assert (bar.first_queued, bar.last_queued) == (DAY.begin + 100 * SECOND, DAY.begin + 110 * SECOND)


def test_separate_runs_have_separate_bars() -> None:
    (row,) = rows_of(a_bar(100), a_bar(4000))
    assert [bar.count for bar in row.bars] == [1, 1]


def test_jobs_with_problems_come_first() -> None:
    rows = rows_of(a_bar(job="fine"), a_bar(job="troubled", status=Status.MISSED), a_bar(job="also fine"))
    assert [row.job for row in rows] == ["troubled", "also fine", "fine"]


def test_a_bar_has_a_title_and_a_link() -> None:
    picture = draw(a_bar(3600, 90, status=Status.FAILED))
    assert "<title>probe: failed, 2026-02-28 13:00:00 UTC, 1 min 30 s</title>" in picture
    assert f'href="{reverse("admin:jobledger_run_change", args=[UUID(int=7)])}"' in picture


def test_a_job_name_is_escaped() -> None:
    assert "<script>" not in draw(a_bar(job="<script>"))


def test_statuses_differ_in_shape() -> None:
    shapes = {
        match.groups()
        for status in (Status.FAILED, Status.SKIPPED, Status.SUCCEEDED)
        if (match := re.search(r' y="(\d+)" width="[\d.]+" height="(\d+)"', draw(a_bar(status=status))))
    }
    assert len(shapes) == 3


@pytest.mark.parametrize(("days", "count"), [(1, 8), (7, 7)])
def test_the_axis_has_round_hours_or_days(days: int, count: int) -> None:
    axis = TimeAxis(begin=NOON - timedelta(days=days), now=NOON, end=NOON)
    assert len(list(axis.ticks())) in (count, count + 1)


@given(minutes=st.integers(0, 24 * 60), ahead=st.integers(0, 6))
def test_no_label_of_the_axis_is_cut_off_or_covers_another(minutes: int, ahead: int) -> None:
    now = NOON + timedelta(minutes=minutes)
    axis = TimeAxis(begin=now - timedelta(days=1), now=now, end=now + timedelta(hours=ahead))
    picture = timeline.svg((), axis, "Runs", RunUrls())
    labels = re.findall(r'<text class="hour[^"]*" x="([\d.]+)" y="12">([^<]+)<', picture)
    # A letter is at most 8 wide, in a font of 10.
    edges = [(float(x) - 4 * len(label), float(x) + 4 * len(label)) for x, label in labels]
    assert len(edges) > 5
    assert all(right <= timeline.WIDTH for _, right in edges)
    assert all(right <= left for (_, right), (left, _) in pairwise(sorted(edges)))


def test_a_clock_change_does_not_move_bars() -> None:
    paris = ZoneInfo("Europe/Paris")
    noon = datetime(2026, 3, 29, 12, tzinfo=paris)
    axis = TimeAxis(begin=datetime(2026, 3, 28, 12, tzinfo=paris), now=noon, end=noon)
    middle = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    assert axis.x(middle) == (timeline.LABEL_WIDTH + timeline.WIDTH) / 2


pytestmark = pytest.mark.django_db


def create_run(minutes_ago: int, **values: object) -> Run:
    at = NOON - timedelta(minutes=minutes_ago)
    given = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED, "queued_at": at}
    return Run.objects.create(**{**given, **values})


def test_a_run_is_shown_from_its_start_to_its_end() -> None:
    begin = NOON - timedelta(minutes=9)
    run = create_run(10, started_at=begin, finished_at=NOON)
    (bar,) = timeline.read_bars(DAY)
    assert (bar.begin, bar.end, bar.count) == (begin, NOON, 1)
    assert bar.run_id == run.pk


def test_the_bar_of_a_running_run_ends_now() -> None:
    create_run(10, status=Status.RUNNING, started_at=NOON - timedelta(minutes=10))
    assert timeline.read_bars(DAY)[0].end == NOON


def test_a_missed_slot_is_shown_at_its_time() -> None:
    create_run(10, status=Status.MISSED)
    (bar,) = timeline.read_bars(DAY)
    assert bar.begin == bar.end == NOON - timedelta(minutes=10)


def test_earlier_runs_are_not_shown() -> None:
    create_run(25 * 60)
    assert timeline.read_bars(DAY) == []


def test_overlapping_runs_are_counted_and_have_the_worst_status() -> None:
    for status in (Status.SUCCEEDED, Status.SKIPPED, Status.FAILED, Status.SUCCEEDED):
        create_run(10, status=status)
    create_run(700)
    found = {(bar.status, bar.count, bar.run_id is None) for bar in timeline.read_bars(DAY)}
    assert found == {(Status.FAILED, 4, True), (Status.SUCCEEDED, 1, False)}


def test_a_joined_bar_with_a_running_run_ends_now() -> None:
    create_run(10, status=Status.FAILED, finished_at=NOON - timedelta(minutes=9))
    create_run(10, status=Status.RUNNING)
    (bar,) = timeline.read_bars(DAY)
    assert (bar.status, bar.end) == (Status.FAILED, NOON)


def test_the_timeline_takes_one_query(django_assert_num_queries: Any) -> None:
    for minutes in range(100):
        create_run(minutes)
    with django_assert_num_queries(1):
        assert sum(bar.count for bar in timeline.read_bars(DAY)) == 100


def test_a_bar_of_several_runs_links_to_a_list_of_exactly_these(admin_client: Client) -> None:
    queued = [
        create_run(10, started_at=NOON - timedelta(minutes=9, seconds=seconds)) for seconds in (50, 51, 52)
    ]
    other = create_run(60)
    rows = timeline.job_rows(timeline.read_bars(DAY), DAY)
    picture = timeline.svg(rows, DAY, "Runs", RunUrls())
    (address,) = re.findall(r'href="([^"]*&amp;to=[^"]*)"', picture)
    page = admin_client.get(html.unescape(address)).text
    assert all(str(run.pk) in page for run in queued)
    assert str(other.pk) not in page
