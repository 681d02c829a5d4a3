"""The duration chart: bars, labels, accessibility and the pages that show it."""

import itertools
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import PeriodicTask
from hypothesis import given
from hypothesis import strategies as st

from jobledger import formats
from jobledger.admin import duration_chart as chart
from jobledger.admin.display import run_url
from jobledger.admin.recent_runs import WINDOW, RecentRun, Shape
from jobledger.models import SUCCESSES, Status
from tests.unit.jobledger.admin.schedules.schedules import run_of
from tests.unit.jobledger.schedules.builders import NOON, hourly

NOT_EXECUTED = (Status.MISSED, Status.SKIPPED, Status.QUEUED)


def a_run(status: Status = Status.SUCCEEDED, seconds: float = 1) -> RecentRun:
    began = None if status in NOT_EXECUTED else NOON - timedelta(seconds=seconds)
    ended: datetime | None = None if status is Status.RUNNING else NOON
    return RecentRun(key=uuid.uuid4(), status=status, queued_at=NOON, started_at=began, finished_at=ended)


RUNS = st.lists(
    st.builds(a_run, st.sampled_from(Status), st.floats(0, 1e7) | st.floats(0, 0.01)),
    min_size=1,
    max_size=WINDOW,
)


def draw(*runs: RecentRun) -> ET.Element:
    return ET.fromstring(chart.duration_chart(runs, NOON))


def percent(element: ET.Element, name: str) -> float:
    return float((element.get(name) or "").removesuffix("%"))


@given(RUNS)
def test_each_run_has_its_own_bar_inside_the_frame(runs: list[RecentRun]) -> None:
    links = draw(*runs).findall("a")
    assert [link.get("href") for link in links] == [run_url(run.id) for run in reversed(runs)]
    reached = -0.01
    for link in links:
        place, bar, *_ = link.findall("rect")
        assert percent(bar, "x") >= percent(place, "x") >= reached
        reached = percent(place, "x") + percent(place, "width") - 0.02
        assert percent(bar, "x") + percent(bar, "width") <= 100.01
        for rect in link.findall("rect"):
            assert float(rect.get("y", -1)) >= 0
            assert float(rect.get("y", -1)) + float(rect.get("height", -1)) <= chart.HEIGHT


@given(RUNS)
def test_a_longer_run_never_has_a_lower_bar(runs: list[RecentRun]) -> None:
    found = [bar for bar in chart.bars(runs, NOON) if bar.run.started_at and bar.shape is not Shape.IDLE]
    by_length = sorted(found, key=lambda bar: bar.run.took(NOON) or timedelta(0))
    heights = [bar.height for bar in by_length]
    assert heights == sorted(heights)
    assert all(chart.MIN_BAR_HEIGHT <= height <= chart.GROUND - chart.TOP for height in heights)


@given(RUNS)
def test_labels_of_the_axis_never_overlap(runs: list[RecentRun]) -> None:
    places = sorted(float(text.get("y", -1)) for text in draw(*runs).findall("text"))
    assert all(after - before >= chart.LINE_HEIGHT for before, after in itertools.pairwise(places))
    assert all(0 <= place <= chart.HEIGHT for place in places)


def test_the_median_of_the_successful_runs_has_a_line_with_its_value() -> None:
    picture = draw(a_run(seconds=20), a_run(seconds=10), a_run(Status.FAILED, seconds=40), a_run(seconds=30))
    (line,) = [line for line in picture.findall("line") if line.get("class") == "median"]
    halfway = (chart.TOP + chart.GROUND) / 2
    assert line.get("y1") == line.get("y2") == f"{halfway + 0.5:.1f}"
    assert [text.text for text in picture.findall("text")] == ["40 s", "median 20 s"]


def test_without_a_successful_run_there_is_no_median() -> None:
    picture = draw(a_run(Status.FAILED), a_run(Status.MISSED))
    assert [line.get("class") for line in picture.findall("line")] == ["ground"]


def test_a_bar_has_a_title_with_time_status_and_duration() -> None:
    (link,) = draw(a_run(Status.FAILED, seconds=72)).findall("a")
    assert link.findtext("title") == "failed, 1 min 12 s, 2026-03-02 11:58:48 UTC"
    assert link.get("aria-label") == link.findtext("title")


def test_the_chart_has_a_text_alternative() -> None:
    picture = draw(a_run(seconds=5), a_run(Status.FAILED))
    assert picture.get("role") == "group"
    assert picture.get("aria-label") == (
        "Durations. Last 2 runs: 1 succeeded, 1 failed. Median of the successful runs: 5 s"
    )


def test_failures_have_a_foot_and_are_in_the_tab_order() -> None:
    failed, good = draw(a_run(), a_run(Status.FAILED)).findall("a")
    assert [len(link.findall("rect")) for link in (good, failed)] == [2, 3]
    assert [link.get("tabindex") for link in (good, failed)] == ["-1", "0"]


def test_a_few_bars_are_on_the_right_and_have_a_maximum_width() -> None:
    (bar,) = chart.bars([a_run()], NOON)
    assert (bar.place, bar.step) == (96, 4)


def test_there_is_no_chart_without_runs() -> None:
    assert chart.duration_chart([], NOON) == ""


def test_texts_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "\"><script>alert('x')</script>&"
    for name in ("run_title", "counts_by_status"):
        monkeypatch.setattr(chart, name, lambda *_: evil)
    monkeypatch.setattr(formats, "duration", lambda _: evil)
    picture = draw(a_run())
    assert picture.findtext("a/title") == picture.find("a").get("aria-label") == evil  # type: ignore[union-attr]
    assert picture.findtext("text") == f"median {evil}"
    assert evil in (picture.get("aria-label") or "")
    assert {element.tag for element in picture.iter()} == {"svg", "a", "title", "rect", "line", "text"}


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_drawn_without_style_or_script(status: Status) -> None:
    text = chart.duration_chart([a_run(status)], NOON)
    assert "style=" not in text
    assert " on" not in text.replace(" on ", "")
    (link,) = ET.fromstring(text).findall("a")
    is_solid = link.get("class", "").startswith("bar-good")
    assert is_solid == (status in SUCCESSES)


# On the pages of a schedule and of a job


def job_page(_: PeriodicTask) -> str:
    return reverse("admin:jobledger_job", args=["probe"])


def schedule_page(schedule: PeriodicTask) -> str:
    return reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk])


def links_in(page: str) -> int:
    return page.count('class="place"')


@pytest.mark.django_db
@pytest.mark.parametrize("address", [job_page, schedule_page])
def test_a_page_shows_a_chart_of_its_newest_runs(
    admin_client: Client, address: Callable[[PeriodicTask], str]
) -> None:
    schedule = hourly()
    assert "has not run yet." in admin_client.get(address(schedule)).text
    runs = [run_of(schedule, minutes_ago=number) for number in range(WINDOW + 1)]
    page = admin_client.get(address(schedule)).text
    assert links_in(page) == WINDOW
    assert f'href="{run_url(runs[0].pk)}"' in page
    assert f'href="{run_url(runs[-1].pk)}"' not in page


@pytest.mark.django_db
@pytest.mark.parametrize("address", [job_page, schedule_page])
def test_the_number_of_queries_is_constant(
    admin_client: Client, address: Callable[[PeriodicTask], str]
) -> None:
    schedule, counts = hourly(), []
    admin_client.get(address(schedule))  # fills Django's caches, such as that of content types
    for minutes_ago in range(20):
        run_of(schedule, minutes_ago=minutes_ago)
        with CaptureQueriesContext(connection) as queries:
            admin_client.get(address(schedule))
        counts.append(len(queries))
    assert len(set(counts)) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("address", [job_page, schedule_page])
def test_users_without_permission_see_no_chart(
    client: Client, address: Callable[[PeriodicTask], str]
) -> None:
    schedule = hourly()
    run_of(schedule)
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.add(
        Permission.objects.get(codename="view_periodictask"), Permission.objects.get(codename="start_run")
    )
    client.force_login(user)
    answer = client.get(address(schedule))
    assert answer.status_code == 200
    assert links_in(answer.text) == 0
