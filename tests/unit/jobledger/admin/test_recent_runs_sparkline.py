"""Sparklines of recent runs, with text alternatives."""

import uuid
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from jobledger.admin import recent_runs
from jobledger.admin.recent_runs import RecentRun
from jobledger.models import Status
from tests.unit.jobledger.schedules.builders import NOON


def a_run(status: Status = Status.SUCCEEDED, *, seconds: float = 1) -> RecentRun:
    is_executed = status not in (Status.MISSED, Status.SKIPPED, Status.QUEUED)
    return RecentRun(
        key=uuid.uuid4(),
        status=status,
        queued_at=NOON,
        started_at=NOON if is_executed else None,
        finished_at=NOON + timedelta(seconds=seconds),
    )


def bars(*runs: RecentRun) -> list[ET.Element]:
    return list(ET.fromstring(recent_runs.sparkline(runs, NOON, places=20)))


def test_a_sparkline_has_a_text_alternative() -> None:
    runs = [a_run(), a_run(Status.FAILED), a_run()]
    assert recent_runs.counts_by_status(runs) == "Last 3 runs: 2 succeeded, 1 failed"
    picture = ET.fromstring(recent_runs.sparkline(runs, NOON, places=20))
    assert (picture.get("role"), picture.get("aria-label")) == ("img", recent_runs.counts_by_status(runs))


def test_each_bar_has_a_title() -> None:
    (bar,) = bars(a_run(Status.FAILED, seconds=72))
    assert bar.findtext("title") == "failed, 1 min 12 s, 2026-03-02 12:00:00 UTC"


def test_a_run_that_was_not_executed_has_no_duration() -> None:
    (bar,) = bars(a_run(Status.MISSED))
    assert bar.findtext("title") == "missed, 2026-03-02 12:00:00 UTC"


def test_the_newest_run_is_on_the_right_and_the_longest_is_the_highest() -> None:
    older, newest = bars(a_run(seconds=5), a_run(seconds=10))
    assert newest.get("d") == "M114 20v-10h5v10z"
    assert older.get("d") == "M108 20v-20h5v20z"


def test_statuses_differ_in_shape() -> None:
    runs = [a_run(Status.SUCCEEDED), a_run(Status.FAILED), a_run(Status.SKIPPED)]
    shapes = [(bars(run)[0].get("d") or "").count("z") for run in runs]
    assert shapes == [1, 2, 1]
    good, idle = bars(runs[0])[0], bars(runs[2])[0]
    assert (good.get("class"), idle.get("class")) == ("bar-good run-succeeded", "bar-idle run-skipped")
    assert good.get("d") != idle.get("d")


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_drawn_without_style_or_script(status: Status) -> None:
    picture = recent_runs.sparkline([a_run(status)], NOON, places=20)
    assert "style=" not in picture
    assert " on" not in picture
