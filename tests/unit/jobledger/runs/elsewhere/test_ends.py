"""The run of a task that another service has executed ends as the task has ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from jobledger.models import Run, Status
from jobledger.runs.elsewhere import ends
from jobledger.runs.elsewhere.backend import Result
from jobledger.runs.outcome import FAILURE, SUCCESS
from jobledger.runs.worker import ordinary_runs
from tests.unit.builders import NOON
from tests.unit.jobledger.alerts.builders import destination, rule, told
from tests.unit.jobledger.runs.elsewhere.builders import sent

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("elsewhere")]

MINUTE = timedelta(minutes=1)
OK = Result(state="SUCCESS")


def failure(error: Exception, **values: Any) -> Result:
    name, module = type(error).__qualname__, type(error).__module__
    given: dict[str, Any] = {"error_type": name, "error_module": module, "error_args": error.args}
    return Result(state="FAILURE", **given, **values)


def ended(result: Result, at: datetime = NOON - MINUTE, **values: Any) -> Run:
    run = sent(at, **values)
    assert ends.record(run, result)
    run.refresh_from_db()
    return run


def test_it_succeeds_when_the_task_has() -> None:
    run = ended(Result(state="SUCCESS", done_at=NOON - MINUTE / 2, worker="w@there"))
    assert (run.status, run.reason, run.exit_code, run.worker) == ("succeeded", "", 0, "w@there")
    assert (run.started_at, run.finished_at, run.look_at) == (None, NOON - MINUTE / 2, None)


def test_it_fails_with_the_error_and_the_traceback() -> None:
    run = ended(failure(LookupError("no such account"), traceback="Traceback: there"))
    assert (run.status, run.reason, run.error) == ("failed", "exception", "LookupError: no such account")
    assert (run.reason_details, run.traceback) == ({"type": "LookupError"}, "Traceback: there")
    assert run.exit_code is None


def test_an_error_of_the_other_service_is_named_with_its_module() -> None:
    result = Result(state="FAILURE", error_type="DeclinedError", error_module="billing.errors")
    assert ended(result).reason_details == {"type": "DeclinedError", "module": "billing.errors"}


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (WorkerLostError("signal 9 (SIGKILL)"), "lost", "lost_process"),
        (TimeLimitExceeded(5.0), "timed_out", "time_limit"),
        (SoftTimeLimitExceeded(), "timed_out", "time_limit"),
    ],
)
def test_celerys_own_errors_say_how_it_ended(error: Exception, status: str, reason: str) -> None:
    run = ended(failure(error))
    assert (run.status, run.reason) == (status, reason)


def test_an_error_of_the_same_name_is_not_celerys() -> None:
    result = Result(state="FAILURE", error_type="TimeLimitExceeded", error_module="billing.errors")
    assert ended(result).status == "failed"


def test_a_revoked_task_is_cancelled() -> None:
    run = ended(Result(state="REVOKED", error_type="TaskRevokedError", error_args=("revoked",)))
    assert (run.status, run.reason, run.reason_details["trigger"]) == ("cancelled", "user", "celery")


def test_a_message_that_has_expired_is_an_expired_run() -> None:
    result = Result(state="REVOKED", error_type="TaskRevokedError", error_args=("expired",), done_at=NOON)
    run = ended(result, start_before=NOON)
    assert (run.status, run.reason, run.finished_at) == ("expired", "deadline", NOON)


def test_secrets_among_its_arguments_are_masked_in_the_error() -> None:
    result = failure(LookupError("no hunter2-long here"), traceback="at hunter2-long")
    run = ended(result, options={"password": "hunter2-long"})
    assert "hunter2" not in f"{run.error} {run.traceback}"
    assert run.error.startswith("LookupError: no ")


@pytest.mark.parametrize(
    ("done_at", "expected"),
    [(None, NOON), (NOON + 5 * MINUTE, NOON), (datetime(2020, 1, 1, tzinfo=UTC), NOON - MINUTE)],
    ids=["unknown", "ahead", "behind"],
)
def test_the_clock_of_its_worker_is_believed_within_reason(
    done_at: datetime | None, expected: datetime
) -> None:
    assert ended(Result(state="SUCCESS", done_at=done_at)).finished_at == expected


def test_failures_and_recoveries_are_told_once_like_any_others() -> None:
    rule(destination())
    run = sent()
    assert ends.record(run, failure(LookupError("no")))
    assert not ends.record(run, failure(LookupError("no")))
    assert told() == ["failed"]
    ended(OK)
    assert sorted(told()) == ["failed", "recovered"]


def test_a_worker_of_this_project_that_has_begun_the_task_tells_its_end() -> None:
    run = sent()
    assert ordinary_runs.begin(run.pk, "celery@here:7")
    assert not ends.record(run, failure(LookupError("too early")))
    run.refresh_from_db()
    assert (run.status, run.worker, run.look_at) == ("running", "celery@here:7", None)
    ordinary_runs.end(run.pk, SUCCESS, "celery@here:7")
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_what_was_read_first_is_not_begun_again() -> None:
    run = ended(OK)
    assert not ordinary_runs.begin(run.pk, "celery@here:7")
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_a_run_that_was_given_up_stays_as_it_is() -> None:
    run = sent()
    Run.objects.filter(pk=run.pk).update(look_at=None)
    assert not ends.record(run, OK)
    assert not ordinary_runs.begin(run.pk, "celery@here:7")


def test_a_queued_one_that_an_older_worker_has_executed_ends_too() -> None:
    run = sent(job="tests.probes.tasks.add", args=[1, 2])
    assert (run.status, run.look_at is not None) == (Status.QUEUED, True)
    assert ends.record(run, OK)
    run.refresh_from_db()
    assert (run.status, run.publish_after) == ("succeeded", None)


def test_one_that_a_worker_of_this_project_tries_again_is_left_to_it() -> None:
    run = sent(job="tests.probes.tasks.add", args=[1, 2])
    assert ordinary_runs.begin(run.pk, "celery@here:7")
    ordinary_runs.queue_again(run.pk, FAILURE, NOON)
    assert not ends.record(run, OK)
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("queued", 2)
