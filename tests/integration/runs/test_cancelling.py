"""Cancelling with a real worker: the job cleans up, its children end with it, and its row names the user."""

from tests.integration.ledger import (
    call,
    cancel,
    child_of,
    release,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.integration.service import Service
from tests.waiting import wait_until


def test_a_cancelled_run_cleans_up_and_names_the_user(running: Service) -> None:
    pk = call(running, "lasting", seconds=60, tenant="cancel")
    wait_for_start(running, pk)
    cancel(running, pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code, row.reason, row.error) == ("cancelled", 130, "user", "")
    assert row.reason_details == {"user": "ann"}
    assert whats(running, pk) == ["begin", "cleanup"]


def test_a_run_that_is_cancelled_while_queued_never_starts(running: Service) -> None:
    first = call(running, "queueing", seconds=60, tenant="cancel queued")
    wait_for_start(running, first)
    second = call(running, "queueing", tenant="cancel queued")
    wait_for_status(running, second, "queued")
    cancel(running, second)
    assert wait_for_end(running, second).status == "cancelled"
    release(running, first)
    # A late message has no effect.
    call(running, "queueing", task_id=second, tenant="cancel queued")
    no_start = f"A message of run {second} of queueing starts nothing"
    wait_until(lambda: no_start in running.log("worker"), what="the late message")
    assert whats(running, second) == []


def test_cancelling_a_parent_cancels_its_child(running: Service) -> None:
    pk = call(running, "parent", seconds=60)
    child = child_of(running, pk)
    assert (child.job, child.trigger) == ("lasting", "job")
    cancel(running, pk)
    assert (wait_for_end(running, pk).status, wait_for_end(running, child.pk).status) == (
        "cancelled",
        "cancelled",
    )
    assert whats(running, child.pk) == ["begin", "cleanup"]
    assert whats(running, pk) == ["begin"]


def test_cancelling_a_child_fails_its_parent(running: Service) -> None:
    pk = call(running, "parent", seconds=60)
    child = child_of(running, pk)
    cancel(running, child.pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.error) == ("failed", "lasting: Cancelled by ann.")
    assert wait_for_end(running, child.pk).status == "cancelled"


def test_a_job_that_does_not_stop_when_cancelled_is_killed_after_its_grace_period(running: Service) -> None:
    pk = call(running, "lasting", seconds=60, tenant="stubborn", stubborn=True)
    wait_for_start(running, pk)
    cancel(running, pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.reason) == ("cancelled", "user")
    assert row.reason_details == {"user": "ann", "killed_by": "itself"}
    assert whats(running, pk) == ["begin"]
