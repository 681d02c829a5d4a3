"""The picture shows every run once, the worst ones most clearly, and nothing outside its frame."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.jobs.admin import timeline
from tasks_app.jobs.admin.run_addresses import RunAddresses
from tasks_app.jobs.admin.timeline import Span, Window
from tasks_app.jobs.models import Status
from tests.unit.builders import NOON

SECOND = timedelta(seconds=1)
DAY = Window(begin=NOON - timedelta(days=1), end=NOON)
OFFSETS = st.integers(-3600, 90_000)


def a_span(begin: int = 0, length: int = 0, *, job: str = "probe", status: Status = Status.SUCCEEDED) -> Span:
    """A run that began so many seconds after the window did."""
    at = DAY.begin + timedelta(seconds=begin)
    end = at + timedelta(seconds=length)
    return Span(
        job=job, status=status, begin=at, end=end, first_queued=at, last_queued=at, run_id=UUID(int=7)
    )


def rows_of(*spans: Span) -> list[timeline.Row]:
    return timeline.rows(spans, DAY)


def drawn(*spans: Span) -> str:
    return timeline.picture(rows_of(*spans), DAY, "Runs", RunAddresses())


@given(st.lists(st.builds(a_span, OFFSETS, st.integers(0, 90_000), status=st.sampled_from(Status))))
def test_no_run_is_left_out_and_no_mark_is_outside(spans: list[Span]) -> None:
    rows = rows_of(*spans)
    assert sum(span.count for row in rows for span in row.spans) == len(spans)
    marks = re.findall(r'<rect class="span[^"]*" x="(-?[\d.]+)" y="[\d.]+" width="(-?[\d.]+)"', drawn(*spans))
    assert len(marks) == sum(len(row.spans) for row in rows)
    for x, width in marks:
        assert float(x) >= timeline.LABEL_WIDTH
        assert float(width) >= timeline.NARROWEST_MARK
        assert float(x) + float(width) <= timeline.PICTURE_WIDTH + timeline.NARROWEST_MARK + 0.1


def test_runs_that_would_lie_upon_each_other_share_a_mark_that_looks_like_the_worst() -> None:
    (row,) = rows_of(a_span(100), a_span(105, status=Status.FAILED), a_span(110))
    (span,) = row.spans
    assert (span.count, span.status) == (3, Status.FAILED)
    assert (span.first_queued, span.last_queued) == (DAY.begin + 100 * SECOND, DAY.begin + 110 * SECOND)


def test_runs_apart_have_a_mark_each() -> None:
    (row,) = rows_of(a_span(100), a_span(4000))
    assert [span.count for span in row.spans] == [1, 1]


def test_the_jobs_in_trouble_come_first() -> None:
    rows = rows_of(a_span(job="fine"), a_span(job="troubled", status=Status.MISSED), a_span(job="also fine"))
    assert [row.job for row in rows] == ["troubled", "also fine", "fine"]


def test_a_mark_says_what_it_is_about_and_leads_there() -> None:
    picture = drawn(a_span(3600, 90, status=Status.FAILED))
    assert "<title>probe: failed, 2026-02-28 13:00:00 UTC, 1 min 30 s</title>" in picture
    assert f'href="{reverse("admin:jobs_run_change", args=[UUID(int=7)])}"' in picture


def test_a_jobs_name_is_data() -> None:
    assert "<script>" not in drawn(a_span(job="<script>"))


def test_states_are_told_apart_by_shape() -> None:
    shapes = {
        match.groups()
        for status in (Status.FAILED, Status.SKIPPED, Status.SUCCEEDED)
        if (match := re.search(r' y="(\d+)" width="[\d.]+" height="(\d+)"', drawn(a_span(status=status))))
    }
    assert len(shapes) == 3


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
