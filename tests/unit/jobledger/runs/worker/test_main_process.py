"""A worker that sees its child die ends the run that this child had, and no other."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.signals import task_revoked
from celery.worker.request import Request

from jobledger.models import Reason, Run, Status, Trigger
from jobledger.runs import reasons
from jobledger.runs.dispatch import IDENTITY
from jobledger.runs.worker import main_process
from jobledger.runs.worker.main_process import JobRequest, Loss, cancel_revoked, connect, end_run_of
from tests.unit.builders import NOON
from tests.unit.jobledger.runs.worker.builders import received

pytestmark = pytest.mark.django_db

CHILD = "celery@here:7"


@pytest.fixture(autouse=True)
def celerys_own_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's handling needs a whole worker around it."""
    for name in "on_failure", "on_timeout":
        monkeypatch.setattr(Request, name, lambda *args, **kwargs: None)
    # In a test's transaction no other thread sees a thing.
    monkeypatch.setattr(main_process, "_in_a_thread", lambda work, name: work())


def running(**values: Any) -> Run:
    defaults: dict[str, Any] = {
        "job": "lasting",
        "trigger": Trigger.SCHEDULE,
        "status": Status.RUNNING,
        "worker": CHILD,
    }
    defaults |= {"started_at": NOON, "heartbeat_at": NOON, "worker_identity": IDENTITY}
    return Run.objects.create(**{**defaults, **values})


def request_of(run: Run) -> JobRequest:
    """The message that the child has, as Celery tells the main process of it."""
    request = received(str(run.pk))
    request.on_accepted(pid=cast("Any", 7), time_accepted=0.0)
    return request


def failed(error: Exception) -> Any:
    return cast("Any", SimpleNamespace(exception=error))


def test_the_run_of_a_child_that_died_is_lost() -> None:
    run = running()
    request_of(run).on_failure(failed(WorkerLostError("signal 9 (SIGKILL)")))
    run.refresh_from_db()
    assert (run.status, run.error) == ("lost", "signal 9 (SIGKILL)")
    assert (run.reason, run.reason_details) == (Reason.LOST_PROCESS, {"worker": CHILD})


def test_a_loss_in_celerys_wrapping_is_known_as_well() -> None:
    run = running()
    request_of(run).on_failure(failed(cast("Exception", SimpleNamespace(exc=WorkerLostError("gone")))))
    run.refresh_from_db()
    assert run.status == "lost"


def test_a_child_that_was_killed_for_its_time_limit_has_timed_out() -> None:
    run = running(job="limited")
    request_of(run).on_timeout(soft=False, timeout=14.0)
    run.refresh_from_db()
    assert (run.status, run.reason) == ("timed_out", Reason.TIME_LIMIT)
    assert run.reason_details == {"limit_seconds": 2.0, "killed_by": "worker"}


@pytest.mark.parametrize("error", [RuntimeError("boom"), TimeLimitExceeded(14.0)])
def test_a_task_that_merely_failed_is_not_lost(error: Exception) -> None:
    run = running()
    request_of(run).on_failure(failed(error))
    run.refresh_from_db()
    assert run.status == "running"


@pytest.mark.parametrize(
    "elsewhere",
    [{"worker": "celery@here:8"}, {"worker": "celery@there:7"}, {"worker_identity": "another with its name"}],
)
def test_a_later_attempt_elsewhere_is_left_alone(elsewhere: dict[str, str]) -> None:
    run = running(**elsewhere, attempt=2)
    end_run_of(Loss(task_id=str(run.pk), child=CHILD, error="It died."))
    run.refresh_from_db()
    assert (run.status, run.attempt) == ("running", 2)


# Remote control.


def revoke(run: Run, **values: Any) -> None:
    """Send what Celery sends when it drops a message that was revoked."""
    connect()
    request = SimpleNamespace(id=str(run.pk))
    task_revoked.send(sender=None, **{"request": request, "terminated": False, "expired": False, **values})
    run.refresh_from_db()


def queued() -> Run:
    return Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, publish_after=NOON)


def test_a_queued_run_that_is_revoked_is_cancelled_and_not_published_again() -> None:
    run = queued()
    revoke(run)
    assert (run.status, run.reason, run.publish_after) == ("cancelled", Reason.USER, None)
    text = "Cancelled before it started by a user (celery control revoke)."
    assert str(reasons.sentence(run, NOON)) == text


def test_a_running_one_that_is_terminated_is_asked_to_end() -> None:
    run = running()
    revoke(run, terminated=True)
    assert (run.status, run.cancel_requested_at is not None) == ("running", True)


def test_a_run_that_is_over_stays_as_it_is() -> None:
    run = queued()
    Run.objects.update(status=Status.SUCCEEDED)
    revoke(run)
    assert (run.status, run.reason) == ("succeeded", "")


def test_a_message_that_has_expired_leaves_its_run_alone() -> None:
    run = queued()
    revoke(run, expired=True)
    assert run.status == "queued"


def test_what_has_no_run_is_revoked_without_a_trace() -> None:
    cancel_revoked("no run")
    assert not Run.objects.exists()
