"""Beat looks for the ends of other services' tasks, many at a time, and ever less often."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import overlap, reasons
from jobledger.runs.elsewhere import backend, looking
from jobledger.runs.elsewhere.awaiting import FIRST_LOOK, MAX_SILENCE
from jobledger.runs.elsewhere.backend import BackendDownError
from jobledger.runs.elsewhere.looking import MAX_OUTAGE, Looking
from tests.unit.builders import NOON
from tests.unit.jobledger.runs.elsewhere.builders import CHARGE, Elsewhere, sent
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def look(clock: Any, after: timedelta = FIRST_LOOK) -> None:
    clock.move_to(NOON + after)
    Looking().look()


def awaited(count: int) -> list[Run]:
    """Runs that are to be looked at now."""
    why = Why.of(Reason.AWAITS_RESULT).columns
    made = {"job": CHARGE, "trigger": "schedule", "status": Status.SENT, "queued_at": NOON, **why}
    return Run.objects.bulk_create([Run(**made, look_at=NOON) for _ in range(count)])


@pytest.fixture
def is_down(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The result backend does not answer; how many results it was asked for each time."""
    asked = list[int]()

    def read(pks: Any) -> Any:
        asked.append(len(pks))
        raise BackendDownError("ConnectionError: refused")

    monkeypatch.setattr(backend, "read", read)
    return asked


def test_ends_are_recorded_as_soon_as_they_are_stored(elsewhere: Elsewhere, clock: Any) -> None:
    good, bad, revoked, unknown = (sent() for _ in range(4))
    elsewhere.succeeds(good)
    elsewhere.fails(bad, LookupError("no such account"))
    elsewhere.is_revoked(revoked)
    look(clock)
    statuses = dict(Run.objects.values_list("pk", "status"))
    expected = {good: "succeeded", bad: "failed", revoked: "cancelled", unknown: "sent"}
    assert statuses == {run.pk: status for run, status in expected.items()}
    elsewhere.succeeds(unknown)
    look(clock, HOUR)
    unknown.refresh_from_db()
    assert unknown.status == "succeeded"


def test_a_run_is_not_looked_at_before_its_time(elsewhere: Elsewhere, clock: Any) -> None:
    elsewhere.succeeds(sent())
    look(clock, FIRST_LOOK - SECOND / 1000)
    assert Run.objects.get().status == "sent"


def test_it_is_looked_at_ever_less_often(elsewhere: Elsewhere) -> None:
    ages = [0, 1, 7, 16, 40, 3600, 80000]
    waits = [looking.time_to_wait(timedelta(seconds=age)).total_seconds() for age in ages]
    assert waits == [1, 1, 1, 4, 8, 512, 512]


@pytest.mark.parametrize("kept", [60, 60.0, timedelta(minutes=1)])
def test_results_that_are_deleted_soon_are_looked_for_more_often(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Elsewhere, kept: Any
) -> None:
    elsewhere.app.conf.result_expires = kept
    monkeypatch.setattr(looking, "current_app", elsewhere.app)
    assert looking.time_to_wait(HOUR) == timedelta(seconds=30)


@pytest.mark.parametrize("kept", [None, 0])
def test_results_may_be_kept_for_ever(
    monkeypatch: pytest.MonkeyPatch, elsewhere: Elsewhere, kept: Any
) -> None:
    elsewhere.app.conf.result_expires = kept
    monkeypatch.setattr(looking, "current_app", elsewhere.app)
    assert looking.time_to_wait(HOUR) == timedelta(seconds=512)


@pytest.mark.parametrize(
    ("state", "value", "words"),
    [
        ("STARTED", {"pid": 7, "hostname": "celery@there"}, "worker celery@there has begun it"),
        ("PROGRESS", {"done": 3}, "a worker has begun it"),
        ("RETRY", LookupError("not yet"), "it has failed and is tried again"),
    ],
)
def test_what_has_not_ended_is_awaited_further(
    elsewhere: Elsewhere, clock: Any, state: str, value: Any, words: str
) -> None:
    run = sent()
    elsewhere.stores(run, value, state)
    look(clock)
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_details["state"]) == ("sent", "awaits_result", state)
    assert words in str(reasons.sentence(run, NOON))
    elsewhere.succeeds(run)
    look(clock, HOUR)
    run.refresh_from_db()
    assert (run.status, run.reason, run.reason_details) == ("succeeded", "", {})


def test_after_a_day_without_a_result_it_is_given_up(elsewhere: Elsewhere, clock: Any) -> None:
    run = sent()
    look(clock, MAX_SILENCE - SECOND)
    run.refresh_from_db()
    assert (run.status, run.is_over) == ("sent", False)
    Run.objects.update(look_at=NOON)
    look(clock, MAX_SILENCE)
    run.refresh_from_db()
    assert (run.status, run.reason, run.is_over) == ("sent", "no_result", True)
    assert run.finished_at == NOON + MAX_SILENCE


def test_the_day_begins_when_the_message_is_sent_however_long_it_had_to_wait(
    elsewhere: Elsewhere, clock: Any
) -> None:
    """The broker may have been away for more than a day."""
    queued_at = NOON - 2 * MAX_SILENCE
    run = sent(queued_at)
    look(clock)
    run.refresh_from_db()
    assert (run.status, run.is_over) == ("sent", False)
    assert f"Sent to Celery at {NOON:%Y-%m-%d %H:%M}" in str(reasons.sentence(run, NOON))
    elsewhere.succeeds(run)
    look(clock, MAX_SILENCE - SECOND)
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_result_that_cannot_be_decoded_is_an_unknown_end_and_says_so(
    elsewhere: Elsewhere, clock: Any
) -> None:
    run = sent(options={"password": "hunter2-long"})
    elsewhere.stores_bytes(run, b'{"status": hunter2-long}')
    look(clock)
    run.refresh_from_db()
    assert (run.status, run.reason, run.is_over) == ("sent", "unreadable_result", True)
    assert "Error: " in run.reason_details["error"]
    assert "hunter2" not in str(run.reason_details)


def test_one_that_was_cancelled_in_the_queue_is_not_looked_at_again(elsewhere: Elsewhere, clock: Any) -> None:
    """Until a day has passed, workers know by ``look_at`` that its message is to be discarded."""
    run = sent(job="tests.probes.tasks.add", args=[1, 2])
    assert overlap.request_cancel(run, Why.of(Reason.USER, user="ann"), NOON)
    elsewhere.succeeds(run)
    for after, look_at in (FIRST_LOOK, NOON + MAX_SILENCE), (MAX_SILENCE, None):
        look(clock, after)
        run.refresh_from_db()
        assert (run.status, run.look_at) == ("cancelled", look_at)


@pytest.mark.parametrize("count", [1, 40])
def test_however_many_are_awaited_few_statements_look_at_them(
    elsewhere: Elsewhere, clock: Any, count: int
) -> None:
    awaited(count)
    clock.move_to(NOON + HOUR)
    with CaptureQueriesContext(connection) as queries:
        Looking().look()
    # The claim, and the look that finds nothing more.
    assert len([each for each in queries if "SAVEPOINT" not in each["sql"]]) == 3


def test_all_that_are_due_are_looked_at_in_batches(
    elsewhere: Elsewhere, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "BATCH", 4)
    for run in awaited(10):
        elsewhere.succeeds(run)
    look(clock)
    assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}


def test_a_backend_that_is_down_is_left_alone_for_a_while(
    elsewhere: Elsewhere, clock: Any, is_down: list[int]
) -> None:
    sent()
    here = Looking()
    for seconds in (2, 4, 8):
        clock.move_to(NOON + seconds * SECOND)
        here.look()
    assert is_down == [1]


def test_that_a_backend_is_down_and_that_it_is_back_is_logged_once(
    elsewhere: Elsewhere, clock: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(looking, "DOWN_SECONDS", 0)
    run, here = sent(), Looking()
    with monkeypatch.context() as patched:

        def refuse(pks: Any) -> Any:
            raise BackendDownError("ConnectionError: refused")

        patched.setattr(backend, "read", refuse)
        for hours in (1, 2):
            clock.move_to(NOON + hours * HOUR)
            here.look()
    elsewhere.succeeds(run)
    clock.move_to(NOON + 3 * HOUR)
    here.look()
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert [each.getMessage() for each in caplog.records if each.name == looking.__name__] == [
        "The ends of tasks cannot be read from Celery's result backend: ConnectionError: refused",
        "Celery's result backend is back",
    ]


def test_if_the_backend_does_not_answer_for_two_days_a_run_is_given_up(
    elsewhere: Elsewhere, clock: Any, is_down: list[int]
) -> None:
    run = sent()
    look(clock, MAX_OUTAGE - SECOND)
    run.refresh_from_db()
    assert (run.reason, run.is_over) == ("awaits_result", False)
    Run.objects.update(look_at=NOON)
    look(clock, MAX_OUTAGE)
    run.refresh_from_db()
    assert (run.status, run.reason, run.is_over) == ("sent", "no_answer", True)


@pytest.mark.django_db(transaction=True)
def test_two_beats_do_not_look_at_the_same_runs(elsewhere: Elsewhere, tmp_path: Path) -> None:
    found = list[Run]()
    with side_by_side(tmp_path) as beats:
        runs = awaited(2 * backend.BATCH)
        beats.call([lambda: found.extend(looking.claim())] * 2)
    assert sorted(run.pk for run in found) == sorted(run.pk for run in runs)
