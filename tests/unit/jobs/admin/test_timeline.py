"""The picture shows every run once, the worst ones most clearly, and nothing outside its frame."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.jobs.admin import timeline
from tasks_app.jobs.admin.timeline import Span, Window
from tasks_app.jobs.models import Status

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = Window(begin=NOON - timedelta(days=1), end=NOON)
OFFSETS = st.integers(-3600, 90_000)


def a_span(begin: int = 0, length: int = 0, *, job: str = "probe", status: Status = Status.SUCCEEDED) -> Span:
    """A run that began so many seconds after the window did."""
    at = DAY.begin + timedelta(seconds=begin)
    return Span(job=job, status=status, begin=at, end=at + timedelta(seconds=length), address="/runs/?job=x")


def rows_of(*spans: Span) -> list[timeline.Row]:
    return timeline.rows(spans, DAY, {span.job: f"/runs/?job={span.job}" for span in spans})


@given(st.lists(st.builds(a_span, OFFSETS, st.integers(0, 90_000), status=st.sampled_from(Status))))
def test_no_run_is_left_out_and_no_mark_is_outside(spans: list[Span]) -> None:
    rows = rows_of(*spans)
    assert sum(span.count for row in rows for span in row.spans) == len(spans)
    drawn = timeline.picture(rows, DAY, "Runs")
    for x, width in re.findall(r'<rect class="span[^"]*" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn):
        assert float(x) >= timeline.LABEL_WIDTH
        assert float(x) + float(width) <= timeline.PICTURE_WIDTH + timeline.NARROWEST_MARK + 0.1


def test_runs_that_would_lie_upon_each_other_share_a_mark_that_looks_like_the_worst() -> None:
    (row,) = rows_of(a_span(100), a_span(105, status=Status.FAILED), a_span(110))
    (span,) = row.spans
    assert (span.count, span.status) == (3, Status.FAILED)
    assert span.address.startswith("/runs/?job=probe&from=2026-02-28T12:01:40%2B0000")


def test_runs_apart_have_a_mark_each() -> None:
    (row,) = rows_of(a_span(100), a_span(4000))
    assert [span.count for span in row.spans] == [1, 1]


def test_the_jobs_in_trouble_come_first() -> None:
    rows = rows_of(a_span(job="fine"), a_span(job="troubled", status=Status.MISSED), a_span(job="also fine"))
    assert [row.job for row in rows] == ["troubled", "also fine", "fine"]


def test_a_mark_says_what_it_is_about_and_leads_there() -> None:
    drawn = timeline.picture(rows_of(a_span(3600, 90, status=Status.FAILED)), DAY, "Runs")
    assert "<title>probe: failed, 2026-02-28 13:00:00 UTC, 1 min 30 s</title>" in drawn
    assert 'href="/runs/?job=x"' in drawn


def test_a_jobs_name_is_data() -> None:
    assert "<script>" not in timeline.picture(rows_of(a_span(job="<script>")), DAY, "Runs")


def test_states_are_told_apart_by_shape() -> None:
    shapes = {
        status: re.search(
            r' y="(\d+)" width="[\d.]+" height="(\d+)"',
            timeline.picture(rows_of(a_span(status=status)), DAY, ""),
        )
        for status in (Status.FAILED, Status.SKIPPED, Status.SUCCEEDED)
    }
    assert len({found.groups() for found in shapes.values() if found}) == 3


@pytest.mark.parametrize(("days", "count"), [(1, 8), (7, 7)])
def test_the_axis_has_round_hours_or_days(days: int, count: int) -> None:
    window = Window(begin=NOON - timedelta(days=days), end=NOON)
    assert len(list(window.ticks())) in (count, count + 1)


def test_a_clock_change_moves_no_mark() -> None:
    paris = ZoneInfo("Europe/Paris")
    window = Window(
        begin=datetime(2026, 3, 28, 12, tzinfo=paris), end=datetime(2026, 3, 29, 12, tzinfo=paris)
    )
    middle = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)
    assert window.x(middle) == (timeline.LABEL_WIDTH + timeline.PICTURE_WIDTH) / 2
