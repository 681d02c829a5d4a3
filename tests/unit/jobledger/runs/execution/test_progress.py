"""The description of progress: how far, how fast, how much time is left."""

from datetime import timedelta
from typing import Any

import pytest

from jobledger.models import Run, Status
from jobledger.runs.execution import progress
from tests.unit.builders import NOON


def described(done: int | None, total: int | None, *, seconds: float = 10, **values: Any) -> str:
    beat = NOON + timedelta(seconds=seconds)
    run = Run(progress_done=done, progress_total=total, started_at=NOON, heartbeat_at=beat)
    run.status = values.get("status", Status.RUNNING)
    return progress.described(run)


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [
        (None, None, ""),
        (0, 1000, "0 of 1,000 (0%)"),
        (25, 100, "25 of 100 (25%), 2.5 per second, 0:00:30 left"),
        (100, 100, "100 of 100 (100%), 10.0 per second, 0:00:00 left"),
        (120, 100, "120 of 100 (120%), 12.0 per second, 0:00:00 left"),
        (2500, None, "2,500, 250.0 per second"),
        (0, 0, "0 of 0"),
        (1, 10**15, "1 of 1,000,000,000,000,000 (0%), 0.1 per second, more than 100 days left"),
    ],
)
def test_everything_that_is_known_is_described(done: int | None, total: int | None, expected: str) -> None:
    assert described(done, total) == expected


def test_before_the_first_heartbeat_there_is_no_rate() -> None:
    assert described(5, 10, seconds=0) == "5 of 10 (50%)"


def test_a_finished_run_has_no_time_left() -> None:
    assert described(5, 10, status=Status.FAILED) == "5 of 10 (50%), 0.5 per second"
