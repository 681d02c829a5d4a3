"""Overlap with a real worker and beside it ``manage.py``: one guard for all ways to start a job."""

from tests.integration.by_hand import by_hand, newest_by_hand, run_by_hand, short
from tests.integration.saying import Say
from tests.integration.service import Service
from tests.integration.survival import (
    call,
    cancel,
    enqueue,
    release,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)


def test_what_would_overlap_is_skipped_or_refused_and_names_the_holder(running: Service) -> None:
    holder = call(running, "lasting", seconds=60, tenant="forbid")
    wait_for_start(running, holder)
    second = wait_for_end(running, call(running, "lasting", tenant="forbid"))
    assert second.status == "skipped"
    assert f"run {short(holder)}" in second.error
    refused = running.manage("lasting", "--tenant", "forbid")
    assert refused.returncode == 75
    assert f"Skipped: overlap: run {short(holder)}" in refused.stderr
    assert running.manage("lasting", "--tenant", "forbid", "--allow-overlap").returncode == 0
    other = wait_for_end(running, call(running, "lasting", tenant="another"))
    assert other.status == "succeeded"
    release(running, holder)


def test_waiting_by_hand_starts_when_the_worker_is_done(running: Service) -> None:
    holder = call(running, "lasting", seconds=60, tenant="wait")
    wait_for_start(running, holder)
    waiting = by_hand(running, "lasting", "--tenant", "wait", "--seconds", "0.1", "--wait")
    refused = running.manage("lasting", "--tenant", "wait")
    assert (refused.returncode, waiting.poll()) == (75, None)
    release(running, holder)
    output, _ = waiting.communicate(timeout=40)
    assert (waiting.returncode, output) == (0, "working on attempt 1\n")
    assert whats(running, newest_by_hand(running, "lasting")) == ["begin", "end", "cleanup"]


def test_a_run_by_hand_holds_the_job_against_a_worker(running: Service) -> None:
    hand = by_hand(running, "lasting", "--tenant", "hand", "--seconds", "60")
    holder = run_by_hand(running, "lasting")
    second = wait_for_end(running, call(running, "lasting", tenant="hand"))
    assert (second.status, f"run {short(holder)}" in second.error) == ("skipped", True)
    cancel(running, holder)
    _, error = hand.communicate(timeout=40)
    assert (hand.returncode, error) == (130, "Cancelled by ann.\n")


def test_a_queueing_job_starts_as_soon_as_the_other_ends(running: Service, say: Say) -> None:
    first = call(running, "queueing", seconds=4, tenant="queue")
    wait_for_start(running, first)
    second = call(running, "queueing", seconds=0.2, tenant="queue")
    wait_for_status(running, second, "queued")
    third = wait_for_end(running, call(running, "queueing", tenant="queue"))
    assert (third.status, f"run {short(first)}" in third.error) == ("skipped", True)
    ended, waited = wait_for_end(running, first), wait_for_end(running, second)
    assert (ended.status, waited.status) == ("succeeded", "succeeded")
    assert ended.finished_at
    assert waited.started_at
    gap = (waited.started_at - ended.finished_at).total_seconds()
    say(f"started {gap:.3f} s after the other's end")
    assert 0 <= gap < 2


def test_a_waiting_run_starts_also_after_a_holder_that_was_killed(running: Service, say: Say) -> None:
    first = call(running, "queueing", seconds=60, tenant="killed holder", stubborn=True)
    wait_for_start(running, first)
    second = call(running, "queueing", seconds=0.2, tenant="killed holder")
    wait_for_status(running, second, "queued")
    cancel(running, first)
    ended, waited = wait_for_end(running, first), wait_for_end(running, second)
    assert (ended.status, waited.status) == ("cancelled", "succeeded")
    assert ended.finished_at
    assert waited.started_at
    say(f"started {(waited.started_at - ended.finished_at).total_seconds():.3f} s after the other's end")


def test_a_replacing_job_cancels_the_running_one_and_starts(running: Service) -> None:
    first = call(running, "replacing", seconds=60, tenant="replace")
    wait_for_start(running, first)
    second = call(running, "replacing", seconds=60, tenant="replace")
    wait_for_start(running, second)
    row = wait_for_end(running, first)
    assert (row.status, row.cancelled_by) == ("cancelled", f"run {short(second)}, which replaces it")
    done = running.manage("replacing", "--seconds", "0.1", "--tenant", "replace")
    assert (done.returncode, done.stdout) == (0, "working on attempt 1\n")
    row = wait_for_end(running, second)
    assert row.status == "cancelled"
    assert row.cancelled_by.startswith("a run by hand of ")


def test_a_job_that_allows_overlap_runs_beside_itself(running: Service) -> None:
    pks = [call(running, "allowing", seconds=60) for _ in range(2)]
    for pk in pks:
        wait_for_start(running, pk)
    assert running.manage("allowing", "--seconds", "0.1").returncode == 0
    release(running, *pks)


def test_runs_from_the_admin_take_the_same_way(running: Service) -> None:
    (pk,) = enqueue(running, "lasting", seconds=0.1, tenant="admin")
    row = wait_for_end(running, pk)
    assert (row.status, row.trigger, whats(running, pk)) == (
        "succeeded",
        "admin",
        ["begin", "end", "cleanup"],
    )
