"""Time limits with a real worker: softly first, then hard, and no other job is hit."""

from tests.integration.by_hand import newest_by_hand
from tests.integration.saying import Say
from tests.integration.service import Service
from tests.integration.survival import call, is_alive, wait_for_end, wait_for_start, whats
from tests.waiting import wait_until


def test_a_run_over_its_time_limit_ends_softly(running: Service, say: Say) -> None:
    pk = call(running, "limited", seconds=60, tenant="soft")
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert whats(running, pk) == ["begin", "cleanup"]
    assert row.finished_at
    assert row.started_at
    took = (row.finished_at - row.started_at).total_seconds()
    say(f"limit 2 s, ended after {took:.2f} s")


def test_a_stubborn_run_over_its_time_limit_is_killed_and_no_other(running: Service, say: Say) -> None:
    other = call(running, "lasting", seconds=6, tenant="beside the stubborn one")
    pk = call(running, "limited", seconds=60, tenant="hard", stubborn=True)
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert "was killed" in row.error
    assert whats(running, pk) == ["begin"]
    assert wait_for_end(running, other).status == "succeeded"
    assert row.finished_at
    assert row.started_at
    say(f"limit 2 s, grace 2 s, ended after {(row.finished_at - row.started_at).total_seconds():.2f} s")


def test_a_job_stuck_in_c_code_is_ended_by_the_worker(running: Service, say: Say) -> None:
    other = call(running, "lasting", seconds=16, tenant="beside the one in C")
    pk = call(running, "limited", tenant="C", hold_gil=True)
    process = wait_for_start(running, pk).pid
    row = wait_for_end(running, pk)
    assert row.status == "timed_out"
    wait_until(lambda: not is_alive(process), what="its process is gone")
    assert wait_for_end(running, other).status == "succeeded"
    assert row.finished_at
    assert row.started_at
    say(f"limit 2 s, grace 2 s, ended after {(row.finished_at - row.started_at).total_seconds():.2f} s")


def test_the_time_limit_holds_by_hand_with_timeouts_exit_code(running: Service) -> None:
    done = running.manage("limited", "--seconds", "60", "--tenant", "by hand")
    assert done.returncode == 124
    assert done.stderr.splitlines() == ["The run took longer than its time limit."]
    pk = newest_by_hand(running, "limited")
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert whats(running, pk) == ["begin", "cleanup"]
