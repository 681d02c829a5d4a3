"""Each state and reason has a sentence, which depends only on the run's values."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger.models import Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.reason import MANY
from jobledger.runs import reasons
from jobledger.runs.sentence import Part

THREE = datetime(2026, 11, 22, 3, tzinfo=UTC)
AT_THREE = "2026-11-22 03:00:00 UTC"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
OTHER = UUID("3f2a77b1-0000-4000-8000-000000000000")
WORKER = "celery@here:7"


def run(status: Status, why: Why | None = None, **values: Any) -> Run:
    defaults = {
        "trigger": Trigger.SCHEDULE,
        "queued_at": THREE,
        "scheduled_for": THREE,
        "schedule_name": "nightly",
        "schedule_id": 7,
    }
    return Run(**{**defaults, "status": status, **(why or Why()).columns, **values})


def ran(status: Status, why: Why | None = None, *, took: timedelta = 83 * SECOND, **values: Any) -> Run:
    return run(status, why, started_at=THREE, finished_at=THREE + took, **values)


def of(reason: Reason, **facts: Any) -> Why:
    return Why.of(reason, **facts)


HOLDER = {
    "run": OTHER,
    "started_at": THREE - 2 * MINUTE,
    "trigger": Trigger.SCHEDULE,
    "schedule": "nightly",
}
BY_ANNA = of(Reason.USER, user="anna", trigger=Trigger.ADMIN)
SHUTDOWN = of(Reason.WORKER_SHUTDOWN, worker="celery@here")
COALESCED = {"slot": THREE + 60 * MINUTE, "run": OTHER}

CASES: dict[str, tuple[Run, str]] = {
    "succeeded": (ran(Status.SUCCEEDED), "Succeeded in 1 min 23 s."),
    "succeeded, late": (
        run(Status.SUCCEEDED, started_at=THREE + 5 * MINUTE, finished_at=THREE + 6 * MINUTE),
        "Succeeded in 1 min, started 5 min late.",
    ),
    "succeeded at last": (
        ran(Status.SUCCEEDED, took=SECOND, attempt=3),
        "Succeeded in 1 s on attempt 3.",
    ),
    "succeeded all the same": (
        ran(Status.SUCCEEDED, BY_ANNA),
        "Succeeded in 1 min 23 s, although cancelled by anna on the web.",
    ),
    "failed": (
        ran(Status.FAILED, of(Reason.EXCEPTION), exit_code=1, error="RuntimeError: no answer\nand more"),
        "Failed after 1 min 23 s with exit code 1: RuntimeError: no answer.",
    ),
    "failed at last": (
        ran(Status.FAILED, of(Reason.COMMAND_ERROR), exit_code=2, error="no.", attempt=2),
        "Failed after 1 min 23 s with exit code 2 on attempt 2: no.",
    ),
    "failed, bad options": (
        ran(Status.FAILED, of(Reason.BAD_OPTIONS), took=SECOND, exit_code=2, error="level: 9 is too high"),
        "Failed after 1 s with exit code 2: level: 9 is too high.",
    ),
    "failed, memory limit": (
        ran(
            Status.FAILED,
            of(Reason.MEMORY_LIMIT, limit_bytes=512 * 2**20, used_bytes=3 * 2**30, killed_by="itself"),
            exit_code=137,
            took=MINUTE,
        ),
        (
            "Failed after 1 min with exit code 137: the run exceeded its memory limit of 512 MB and used 3"
            " GB. It did not stop in time and was killed."
        ),
    ),
    "failed, out of memory": (
        ran(
            Status.FAILED,
            of(Reason.OUT_OF_MEMORY, worker=WORKER),
            exit_code=137,
            took=MINUTE,
            error="Worker exited prematurely: signal 9 (SIGKILL) Job: 3.",
        ),
        (
            "Failed after 1 min with exit code 137: its process (celery@here:7) was killed because its"
            " container or machine ran out of memory."
        ),
    ),
    "failed, never began": (
        run(
            Status.FAILED,
            of(Reason.NEVER_BEGAN, deaths=10, worker=WORKER, signal="SIGSEGV"),
            error="Worker exited prematurely: signal 11 (SIGSEGV) Job: 3.",
        ),
        (
            "Failed: 10 processes in a row died before the job could begin; the last one (celery@here:7) "
            "was ended by SIGSEGV. The cause may be code that is executed before the job, such as its "
            "concurrency_key: see the worker's log, and run it again once that is fixed."
        ),
    ),
    "failed, exit code": (
        ran(Status.FAILED, of(Reason.EXIT_CODE), exit_code=3),
        "Failed after 1 min 23 s with exit code 3.",
    ),
    "failed, exit code and a last line": (
        ran(Status.FAILED, of(Reason.EXIT_CODE), exit_code=3, error="no space left"),
        "Failed after 1 min 23 s with exit code 3: no space left.",
    ),
    "failed, signal": (
        ran(Status.FAILED, of(Reason.SIGNAL, signal="SIGTERM"), exit_code=143, error="half done"),
        "Failed after 1 min 23 s with exit code 143: it was ended by SIGTERM: half done.",
    ),
    "failed, no message": (
        run(Status.FAILED, of(Reason.NO_MESSAGE), error="TypeError: odd"),
        "Failed: its message could not be created: TypeError: odd.",
    ),
    "timed out": (
        ran(Status.TIMED_OUT, of(Reason.TIME_LIMIT, limit_seconds=MINUTE)),
        "Timed out after 1 min 23 s: the run exceeded its time limit of 1 min.",
    ),
    "timed out and killed": (
        ran(Status.TIMED_OUT, of(Reason.TIME_LIMIT, limit_seconds=MINUTE, killed_by="worker")),
        (
            "Timed out after 1 min 23 s: the run exceeded its time limit of 1 min. "
            "It did not respond and was killed by its worker."
        ),
    ),
    "lost": (
        ran(Status.LOST, of(Reason.LOST_HEARTBEAT, worker=WORKER, heartbeat_at=THREE + MINUTE)),
        (
            "Lost after 1 min 23 s: its process (celery@here:7) sent no heartbeat after "
            "2026-11-22 03:01:00 UTC."
        ),
    ),
    "lost with its process": (
        ran(Status.LOST, of(Reason.LOST_PROCESS, worker=WORKER), error="signal 9 (SIGKILL)"),
        "Lost after 1 min 23 s: its process (celery@here:7) died: signal 9 (SIGKILL).",
    ),
    "cancelled while it ran": (
        ran(Status.CANCELLED, BY_ANNA),
        "Cancelled after 1 min 23 s by anna on the web.",
    ),
    "cancelled and killed": (
        ran(Status.CANCELLED, BY_ANNA.plus(killed_by="itself")),
        ("Cancelled after 1 min 23 s by anna on the web. It did not stop in time and was killed."),
    ),
    "cancelled before": (
        run(Status.CANCELLED, of(Reason.USER, user="ann", trigger=Trigger.CLI, comment="too slow")),
        "Cancelled before it started by ann on the command line (too slow).",
    ),
    "replaced": (
        ran(Status.CANCELLED, of(Reason.SUPERSEDED, run=OTHER)),
        "Cancelled after 1 min 23 s by the newer run 3f2a77b1.",
    ),
    "replaced from the command line": (
        ran(Status.CANCELLED, of(Reason.SUPERSEDED, user="anna", trigger=Trigger.CLI)),
        "Cancelled after 1 min 23 s by a newer run started by anna on the command line.",
    ),
    "cancelled by the worker": (
        ran(Status.CANCELLED, SHUTDOWN),
        "Cancelled after 1 min 23 s by its worker's shutdown.",
    ),
    "interrupted": (
        ran(Status.CANCELLED, of(Reason.INTERRUPTED, signal="SIGINT")),
        "Cancelled after 1 min 23 s by an interrupt from its terminal.",
    ),
    "skipped, overlap": (
        run(Status.SKIPPED, of(Reason.OVERLAP, **HOLDER)),
        (
            "Skipped: run 3f2a77b1 of the same job was still running "
            "(started 2026-11-22 02:58:00 UTC by schedule nightly)."
        ),
    ),
    "skipped, overlap with one that is over": (
        run(Status.SKIPPED, of(Reason.OVERLAP)),
        "Skipped: another run of the same job was still running.",
    ),
    "skipped, queue full": (
        run(Status.SKIPPED, of(Reason.QUEUE_FULL, **HOLDER, waiting=5, max_queued=1)),
        (
            "Skipped: run 3f2a77b1 of the same job was still running "
            "(started 2026-11-22 02:58:00 UTC by schedule nightly), and 5 runs were already waiting; "
            "the limit is 1."
        ),
    ),
    "skipped, paused": (
        run(Status.SKIPPED, of(Reason.PAUSED, user="anna", comment="migration")),
        "Skipped: schedule nightly was paused by anna until resumed: migration.",
    ),
    "skipped, service paused, many": (
        run(Status.SKIPPED, of(Reason.PAUSED, service=True), coalesced=MANY),
        ("Skipped: the whole service was paused until resumed (also covers 100 or more earlier runs)."),
    ),
    "missed, policy": (
        run(Status.MISSED, of(Reason.LATE)),
        f"Missed: beat was not running at {AT_THREE}, and its misfire policy is to skip missed runs.",
    ),
    "missed, superseded": (
        run(Status.MISSED, of(Reason.SUPERSEDED, **COALESCED), publish_count=2),
        (
            "Missed: it had not started when the next run was due at 2026-11-22 04:00:00 UTC; "
            "run 3f2a77b1 covers it."
        ),
    ),
    "missed, limit of a backlog": (
        run(Status.MISSED, of(Reason.CATCH_UP_LIMIT, limit=5, **COALESCED)),
        (
            "Missed: it had not started when the next run was due at 2026-11-22 04:00:00 UTC; "
            "only the 5 newest missed runs were caught up."
        ),
    ),
    "expired, policy": (
        run(Status.EXPIRED, of(Reason.LATE, **COALESCED)),
        (
            "Expired: it had not started when the next run was due at 2026-11-22 04:00:00 UTC, "
            "and its misfire policy is to skip missed runs."
        ),
    ),
    "missed, coalesced": (
        run(Status.MISSED, of(Reason.COALESCED, **COALESCED), coalesced=1),
        (
            f"Missed: beat was not running at {AT_THREE}; run 3f2a77b1 covers all missed runs "
            "(also covers 1 earlier run)."
        ),
    ),
    "missed, limit": (
        run(Status.MISSED, of(Reason.CATCH_UP_LIMIT, limit=5)),
        f"Missed: beat was not running at {AT_THREE}; only the 5 newest missed runs were caught up.",
    ),
    "missed, expired schedule": (
        run(Status.MISSED, of(Reason.SCHEDULE_EXPIRED, expired_at=THREE + MINUTE)),
        (f"Missed: beat was not running at {AT_THREE}, and the schedule expired at 2026-11-22 03:01:00 UTC."),
    ),
    "missed, deadline": (
        run(Status.MISSED, of(Reason.DEADLINE, limit_seconds=5 * MINUTE)),
        (f"Missed: it could not be started at {AT_THREE}, and its start deadline of 5 min has passed."),
    ),
    "missed, edited": (
        run(Status.MISSED, of(Reason.SCHEDULE_EDITED)),
        f"Missed: the schedule was edited before its run of {AT_THREE} was recorded.",
    ),
    "missed, unknown": (run(Status.MISSED), f"Missed: it could not be started at {AT_THREE}."),
    "expired": (
        run(Status.EXPIRED, of(Reason.DEADLINE), start_before=THREE),
        f"Expired: no worker picked it up before its start deadline, {AT_THREE}.",
    ),
    "sent": (
        run(Status.SENT, finished_at=THREE),
        f"Sent to Celery at {AT_THREE}: nothing is known of the outcome.",
    ),
    "sent, awaited": (
        run(Status.SENT, of(Reason.AWAITS_RESULT, within_seconds=1440 * MINUTE)),
        (
            f"Sent to Celery at {AT_THREE}: its end is not in Celery's result backend yet, where beat looks "
            "for it for 1 d."
        ),
    ),
    "sent, begun": (
        run(Status.SENT, of(Reason.AWAITS_RESULT, within_seconds=1440 * MINUTE, state="STARTED", worker="w")),
        (
            f"Sent to Celery at {AT_THREE}: worker w has begun it; its end is not in Celery's result backend "
            "yet, where beat looks for it for 1 d."
        ),
    ),
    "sent, no result": (
        run(Status.SENT, of(Reason.NO_RESULT, within_seconds=1440 * MINUTE), finished_at=THREE + 9 * MINUTE),
        (
            f"Sent to Celery at {AT_THREE}: nothing is known of the outcome: within 1 d, no worker has "
            "reported it, and no result of it was stored."
        ),
    ),
    "sent, no answer": (
        run(Status.SENT, of(Reason.NO_ANSWER, within_seconds=2880 * MINUTE)),
        (
            f"Sent to Celery at {AT_THREE}: nothing is known of the outcome: Celery's result backend did not "
            "answer for 2 d."
        ),
    ),
    "sent, undecodable": (
        run(Status.SENT, of(Reason.UNREADABLE_RESULT, error="ValueError: odd")),
        (f"Sent to Celery at {AT_THREE}: its result is stored, but cannot be decoded: ValueError: odd."),
    ),
    "sent, no result backend": (
        run(Status.SENT, of(Reason.NO_RESULT_BACKEND, backend="rpc"), finished_at=THREE),
        (
            f"Sent to Celery at {AT_THREE}: nothing is known of the outcome, since this project has no "
            "result backend that beat can read."
        ),
    ),
    "running": (
        run(Status.RUNNING, started_at=THREE, heartbeat_at=THREE + 59 * SECOND),
        f"Running since {AT_THREE} (1 min).",
    ),
    "running again": (
        run(Status.RUNNING, started_at=THREE, attempt=2),
        f"Running since {AT_THREE} (1 min, attempt 2).",
    ),
    "running, asked to end": (
        run(Status.RUNNING, BY_ANNA, started_at=THREE, cancel_requested_at=THREE),
        f"Running since {AT_THREE} (1 min): cancel requested by anna on the web at {AT_THREE}.",
    ),
    "running, asked to end and silent": (
        run(Status.RUNNING, SHUTDOWN, started_at=THREE, cancel_requested_at=THREE, heartbeat_at=THREE),
        (
            f"Running since {AT_THREE} (1 min): cancel requested by its worker's shutdown "
            f"at {AT_THREE}; no heartbeat since {AT_THREE}."
        ),
    ),
    "running, silent": (
        run(Status.RUNNING, started_at=THREE, heartbeat_at=THREE),
        f"Running since {AT_THREE} (1 min): no heartbeat since {AT_THREE}.",
    ),
    "queued, not published": (
        run(Status.QUEUED, publish_after=THREE),
        f"Queued: not yet recorded as published (since {AT_THREE}).",
    ),
    "queued, after deaths": (
        run(Status.QUEUED, publish_count=1, deaths_before_start=2),
        ("Queued: 2 processes have died before the job could begin; queued since 2026-11-22 03:00:00 UTC."),
    ),
    "queued, a retry after deaths": (
        run(Status.QUEUED, of(Reason.RETRY), attempt=2, deaths_before_start=1),
        "Queued: a process has died before the job could begin; queued since 2026-11-22 03:00:00 UTC.",
    ),
    "queued, not picked up": (
        run(Status.QUEUED, publish_count=1),
        f"Queued: not picked up by a worker since {AT_THREE}.",
    ),
    "queued, asked often, will expire": (
        run(Status.QUEUED, publish_count=3, start_before=THREE),
        (
            f"Queued: not picked up by a worker since {AT_THREE} (published 3 times); "
            f"it expires if not started before {AT_THREE}."
        ),
    ),
    "queued, caught up": (
        run(Status.QUEUED, of(Reason.CAUGHT_UP), publish_count=1),
        (f"Queued (catching up after beat was not running): not picked up by a worker since {AT_THREE}."),
    ),
    "queued, waits": (
        run(Status.QUEUED, of(Reason.OVERLAP, **HOLDER), publish_count=1),
        (
            "Queued: waiting for run 3f2a77b1 of the same job "
            "(started 2026-11-22 02:58:00 UTC by schedule nightly)."
        ),
    ),
    "queued, its turn": (
        run(Status.QUEUED, of(Reason.OVERLAP), publish_count=1),
        "Queued: waiting for another run of the same job.",
    ),
    "queued, retry": (
        run(Status.QUEUED, of(Reason.RETRY, attempt=1, status="lost"), attempt=2, start_after=THREE),
        f"Queued: attempt 1 was lost; attempt 2 starts at {AT_THREE}.",
    ),
    "queued, retry on its way": (
        run(Status.QUEUED, of(Reason.RETRY, attempt=1), attempt=2, publish_count=1),
        f"Queued: not picked up by a worker since {AT_THREE}.",
    ),
}


@pytest.mark.parametrize(("one", "expected"), CASES.values(), ids=CASES.keys())
def test_a_sentence_says_what_happened_and_why(one: Run, expected: str) -> None:
    assert str(reasons.sentence(one, THREE + MINUTE)) == expected


def test_every_state_has_a_case() -> None:
    assert {one.status for one, _ in CASES.values()} == set(Status)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("reason", ["", "of_a_later_version"])
def test_a_row_without_a_known_reason_still_has_a_sentence(status: Status, reason: str) -> None:
    bare = Run(status=status, queued_at=THREE, reason=reason, reason_details={"limit": [1]})
    assert str(reasons.sentence(bare, THREE)).endswith(".")
    assert (reasons.explanation(bare) or "none.").endswith(".")


def test_with_an_unknown_reason_the_error_is_quoted() -> None:
    one = ran(Status.FAILED, exit_code=1, error="no luck", reason="of_a_later_version")
    assert str(reasons.sentence(one, THREE)) == "Failed after 1 min 23 s with exit code 1: no luck."


def test_invalid_facts_are_left_out() -> None:
    odd = {"limit_seconds": "soon", "heartbeat_at": "then"}
    one = ran(Status.TIMED_OUT, reason="time_limit", reason_details=odd)
    assert reasons.explanation(one) == "The run exceeded its time limit."
    one = ran(Status.LOST, reason="lost_heartbeat", reason_details=odd)
    assert reasons.explanation(one) == "Its process sent no heartbeat in time."


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("succeeded", ""),
        ("succeeded at last", "attempt 3"),
        ("failed", "RuntimeError: no answer"),
        ("cancelled before", "by ann on the command line (too slow)"),
        ("expired", f"no worker picked it up before its start deadline, {AT_THREE}"),
        ("running", ""),
        ("running, silent", f"no heartbeat since {AT_THREE}"),
        ("skipped, paused", "schedule nightly was paused by anna until resumed: migration"),
        ("queued, retry", f"attempt 1 was lost; attempt 2 starts at {AT_THREE}"),
    ],
)
def test_beside_the_status_the_reason_is_enough(name: str, expected: str) -> None:
    assert reasons.short(CASES[name][0], THREE + MINUTE) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("succeeded", ""),
        ("succeeded all the same", ""),
        ("queued, waits", ""),
        ("running, asked to end", ""),
        ("sent", ""),
        (
            "sent, undecodable",
            "Its result is stored, but cannot be decoded: ValueError: odd.",
        ),
        ("failed", "RuntimeError: no answer\nand more"),
        ("failed, exit code", "The job exited with code 3."),
        ("failed, no message", "Its message could not be created: TypeError: odd."),
        (
            "cancelled and killed",
            "Cancelled by anna on the web. It did not stop in time and was killed.",
        ),
        ("lost with its process", "Its process (celery@here:7) died: signal 9 (SIGKILL)."),
        ("skipped, paused", "Schedule nightly was paused by anna until resumed: migration."),
    ],
)
def test_an_explanation_says_in_full_why_a_run_did_not_succeed(name: str, expected: str) -> None:
    assert reasons.explanation(CASES[name][0]) == expected


def test_an_attempt_is_explained_as_a_run_is() -> None:
    why = of(Reason.LOST_PROCESS, worker=WORKER)
    ended = RunAttempt(run=Run(job="probe"), status=Status.LOST, error="gone", **why.columns)
    assert reasons.explanation(ended) == "Its process (celery@here:7) died: gone."


def test_an_error_that_is_not_loaded_is_replaced() -> None:
    one = ran(Status.FAILED, of(Reason.COMMAND_ERROR), error="sesame")
    sentences = reasons.sentence(one, THREE, error="***"), reasons.short(one, THREE, error="***")
    assert "sesame" not in str(sentences)


def test_an_error_is_displayed_without_the_secrets_of_its_run() -> None:
    one = ran(Status.FAILED, of(Reason.COMMAND_ERROR), error="sesame", options={"password": "sesame"})
    shown = reasons.sentence(one, THREE), reasons.short(one, THREE), reasons.explanation(one)
    assert "sesame" not in str([str(each) for each in shown])


def test_the_current_holder_takes_precedence_over_the_recorded_one() -> None:
    one = run(Status.QUEUED, of(Reason.OVERLAP, run=UUID(int=1)))
    now = of(Reason.OVERLAP, run=OTHER)
    assert "3f2a77b1" in str(reasons.sentence(one, THREE, holder=now))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("skipped, overlap", Part(text="3f2a77b1", run_id=str(OTHER))),
        ("missed, coalesced", Part(text="3f2a77b1", run_id=str(OTHER))),
        ("replaced", Part(text="3f2a77b1", run_id=str(OTHER))),
        ("skipped, paused", Part(text="nightly", schedule_id="7")),
    ],
)
def test_a_sentence_marks_the_runs_and_schedules_that_it_names(name: str, part: Part) -> None:
    assert part in reasons.sentence(CASES[name][0], THREE).parts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cancelled before", "ann (too slow)"),
        ("running, asked to end", "anna"),
        ("replaced", "the newer run 3f2a77b1"),
        ("failed", ""),
        ("skipped, overlap", ""),
    ],
)
def test_who_or_what_cancelled_a_run(name: str, expected: str) -> None:
    assert reasons.cancelled_by(CASES[name][0]) == expected


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        (Why(), ""),
        (of(Reason.CAUGHT_UP), "catching up after beat was not running"),
        (of(Reason.PAUSED, comment="move"), "schedule nightly was paused until resumed: move"),
        (
            of(Reason.CATCH_UP_LIMIT, limit=1),
            f"beat was not running at {AT_THREE}; only the newest missed run was caught up",
        ),
    ],
)
def test_a_planned_slot_has_an_explanation(why: Why, expected: str) -> None:
    assert reasons.planned(why, THREE, schedule_name="nightly") == expected


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        (Trigger.SCHEDULE, "schedule nightly"),
        (Trigger.ADMIN, "anna on the web, for schedule nightly"),
        (Trigger.CELERY, "celery call by anna"),
        (Trigger.CLI, "anna on the command line"),
        (Trigger.JOB, "another job"),
        (Trigger.BACKFILL, "a backfill of schedule nightly, started by anna"),
    ],
)
def test_who_or_what_started_a_run(trigger: Trigger, expected: str) -> None:
    assert reasons.started_by(trigger, "anna", "nightly") == expected
