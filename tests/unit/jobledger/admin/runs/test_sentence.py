"""Each state and reason is told in one sentence, from values alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobledger.admin.runs.sentence import Facts, Holder, sentence, short, started_by
from jobledger.models import Status, Trigger
from jobledger.runs.attempts import WORKER_STOPPED

THREE = datetime(2026, 11, 22, 3, tzinfo=UTC)
AT_THREE = "2026-11-22 03:00:00 UTC"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NIGHTLY = Holder(short_id="3f2a77b1", started_at=THREE - 2 * MINUTE, started_by="schedule nightly")


def facts(status: Status, **values: Any) -> Facts:
    defaults = {"now": THREE + MINUTE, "queued_at": THREE, "scheduled_for": THREE, "schedule_name": "nightly"}
    return Facts(status=status, **{**defaults, **values})


def ran(status: Status, took: timedelta = 83 * SECOND, **values: Any) -> Facts:
    return facts(status, started_at=THREE, finished_at=THREE + took, **values)


CASES: dict[str, tuple[Facts, str]] = {
    "succeeded": (ran(Status.SUCCEEDED), "Succeeded in 1 min 23 s."),
    "succeeded, late": (
        facts(Status.SUCCEEDED, started_at=THREE + 5 * MINUTE, finished_at=THREE + 6 * MINUTE),
        "Succeeded in 1 min, begun 5 min after its slot.",
    ),
    "succeeded at last": (
        ran(Status.SUCCEEDED, took=SECOND, attempt=3),
        "Succeeded in 1 s, at attempt 3.",
    ),
    "failed": (
        ran(Status.FAILED, exit_code=1, error="RuntimeError: no answer\nand more"),
        "Failed after 1 min 23 s with exit code 1: RuntimeError: no answer.",
    ),
    "failed at last": (
        ran(Status.FAILED, exit_code=2, error="no.", attempt=2),
        "Failed after 1 min 23 s with exit code 2, at attempt 2: no.",
    ),
    "timed out": (
        ran(Status.TIMED_OUT, error="The run took longer than its time limit."),
        "Timed out after 1 min 23 s: The run took longer than its time limit.",
    ),
    "lost": (
        ran(Status.LOST, error="Its process (worker@here:7) was last heard of at 2026-11-22T03:01:00+00:00."),
        "Lost after 1 min 23 s: Its process (worker@here:7) was last heard of at 2026-11-22T03:01:00+00:00.",
    ),
    "cancelled while it ran": (
        ran(Status.CANCELLED, cancelled_by="anna", error="Cancelled by anna."),
        "Cancelled after 1 min 23 s by anna.",
    ),
    "cancelled and killed": (
        ran(
            Status.CANCELLED,
            cancelled_by="anna",
            error="Cancelled by anna. It did not end when asked to and was killed.",
        ),
        "Cancelled after 1 min 23 s by anna. It did not end when asked to and was killed.",
    ),
    "cancelled before": (
        facts(Status.CANCELLED, cancelled_by="anna", error="Cancelled by anna."),
        "Cancelled before it started, by anna.",
    ),
    "replaced": (
        ran(Status.CANCELLED, cancelled_by="run 3f2a77b1, which replaces it"),
        "Cancelled after 1 min 23 s by run 3f2a77b1, which replaces it.",
    ),
    "cancelled by the worker": (
        ran(Status.CANCELLED, cancelled_by=WORKER_STOPPED),
        "Cancelled after 1 min 23 s by its worker, which was told to stop.",
    ),
    "interrupted": (
        ran(Status.CANCELLED, error="Interrupted by hand."),
        "Cancelled after 1 min 23 s by hand, where it ran.",
    ),
    "skipped, overlap": (
        facts(
            Status.SKIPPED,
            error="overlap: run 3f2a77b1 of the same job was still running "
            "(started 2026-11-22 02:58:00 UTC by schedule nightly)",
        ),
        (
            "Skipped: run 3f2a77b1 of the same job was still running "
            "(started 2026-11-22 02:58:00 UTC by schedule nightly)."
        ),
    ),
    "skipped, paused": (
        facts(Status.SKIPPED, error="paused: migration (by anna)"),
        "Skipped: schedule nightly was paused: migration (by anna).",
    ),
    "skipped, paused, many": (
        facts(Status.SKIPPED, error="paused", folded=1200),
        "Skipped: schedule nightly was paused (this row stands for 1,200 earlier slots as well).",
    ),
    "missed, policy": (
        facts(Status.MISSED, error="late: late slots are skipped"),
        (
            f"Missed: beat was not running at {AT_THREE}; the slot was not made up for "
            "(misfire policy: do not run missed slots)."
        ),
    ),
    "missed, folded": (
        facts(Status.MISSED, error="late: folded into the run of 2026-11-22 04:00:00 UTC", folded=1),
        (
            f"Missed: beat was not running at {AT_THREE}; one run, of the slot 2026-11-22 04:00:00 UTC, "
            "stands for all that were missed (this row stands for 1 earlier slot as well)."
        ),
    ),
    "missed, limit": (
        facts(Status.MISSED, error="late: beyond the catch-up limit of 5"),
        (
            f"Missed: beat was not running at {AT_THREE}; only the 5 newest missed slots were run "
            "(misfire policy: run each of them)."
        ),
    ),
    "missed, expired schedule": (
        facts(Status.MISSED, error="late: the schedule has expired since"),
        f"Missed: beat was not running at {AT_THREE}; the schedule has expired since.",
    ),
    "missed, deadline": (
        facts(Status.MISSED, error="starting deadline passed"),
        f"Missed: nothing could start it at {AT_THREE}, and its starting deadline has passed since.",
    ),
    "missed, edited": (
        facts(Status.MISSED, error="the schedule was edited before this slot was recorded"),
        f"Missed: the schedule was edited before this slot was recorded, {AT_THREE}.",
    ),
    "missed, unknown": (facts(Status.MISSED), f"Missed: nothing could start it at {AT_THREE}."),
    "expired": (
        facts(Status.EXPIRED, start_before=THREE, error="Not started before its starting deadline."),
        f"Expired: no worker picked it up before its starting deadline, {AT_THREE}.",
    ),
    "sent": (
        facts(Status.SENT, finished_at=THREE),
        f"Sent to Celery at {AT_THREE}: an ordinary task, what became of it is not on record here.",
    ),
    "running": (
        facts(Status.RUNNING, started_at=THREE, heartbeat_at=THREE + 59 * SECOND),
        f"Running since {AT_THREE} (1 min).",
    ),
    "running again": (
        facts(Status.RUNNING, started_at=THREE, attempt=2),
        f"Running since {AT_THREE} (1 min, attempt 2).",
    ),
    "running, asked to end": (
        facts(Status.RUNNING, started_at=THREE, cancel_requested_at=THREE, cancelled_by="anna"),
        f"Running since {AT_THREE} (1 min): anna asked for its end at {AT_THREE}.",
    ),
    "running, silent": (
        facts(Status.RUNNING, started_at=THREE, heartbeat_at=THREE),
        f"Running since {AT_THREE} (1 min): not heard of since {AT_THREE}.",
    ),
    "queued, not published": (
        facts(Status.QUEUED, publish_after=THREE),
        f"Queued: it is not on record yet that the broker has its message (since {AT_THREE}).",
    ),
    "queued, not picked up": (
        facts(Status.QUEUED, publish_count=1),
        f"Queued: not yet picked up by a worker since {AT_THREE}.",
    ),
    "queued, asked often, will expire": (
        facts(Status.QUEUED, publish_count=3, start_before=THREE),
        (
            f"Queued: not yet picked up by a worker since {AT_THREE} (asked 3 times); "
            f"it expires at {AT_THREE} unless it starts before."
        ),
    ),
    "queued, waits": (
        facts(Status.QUEUED, publish_count=1, is_guarded=True, holder=NIGHTLY),
        (
            "Queued: waits for run 3f2a77b1 of the same job "
            "(started 2026-11-22 02:58:00 UTC by schedule nightly)."
        ),
    ),
    "queued, its turn": (
        facts(Status.QUEUED, publish_count=1, is_guarded=True),
        "Queued: waits for its turn: another run of the same job was running.",
    ),
    "queued, retry": (
        facts(Status.QUEUED, attempt=2, publish_after=THREE),
        f"Queued: attempt 1 did not succeed; attempt 2 starts at {AT_THREE}.",
    ),
}


@pytest.mark.parametrize(("told", "expected"), CASES.values(), ids=CASES.keys())
def test_a_sentence_says_what_happened_and_why(told: Facts, expected: str) -> None:
    assert sentence(told) == expected


def test_every_state_is_told() -> None:
    assert {told.status for told, _ in CASES.values()} == set(Status)


@pytest.mark.parametrize("status", Status)
def test_a_row_that_says_little_is_told_all_the_same(status: Status) -> None:
    assert sentence(Facts(status=status, now=THREE, queued_at=THREE)).endswith(".")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("succeeded", ""),
        ("succeeded at last", "attempt 3"),
        ("failed", "RuntimeError: no answer"),
        ("cancelled before", "by anna"),
        ("expired", "not started in time"),
        ("running", ""),
        ("skipped, paused", "schedule nightly was paused: migration (by anna)"),
        ("queued, retry", f"attempt 1 did not succeed; attempt 2 starts at {AT_THREE}"),
    ],
)
def test_beside_its_state_the_reason_is_enough(name: str, expected: str) -> None:
    assert short(CASES[name][0]) == expected


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger.SCHEDULE, "schedule nightly"),
        (Trigger.ADMIN, "anna in the admin, for schedule nightly"),
        (Trigger.CELERY, "celery call"),
        (Trigger.CLI, "anna on the command line"),
        (Trigger.JOB, "another job"),
    ],
)
def test_who_or_what_started_it_is_named(trigger: Trigger, expected: str) -> None:
    assert started_by(trigger, "anna", "nightly") == expected
