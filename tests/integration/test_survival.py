"""Runs with a real worker: limits, cancelling, overlap, retries, progress, output, and what a job leaves.

Each test that has figures says them, and so does the audit of all runs at the end.
"""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.integration.service import ROOT, Service, service
from tests.integration.survival import (
    attempts_of,
    audit,
    call,
    cancel,
    enqueue,
    is_alive,
    is_quiet,
    output_of,
    output_size,
    release,
    run_row,
    run_rows,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.waiting import wait_until

# A lease that no test's load on the machine, and no job in C code, outlasts.
QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    "LEASE_SECONDS": "60",
    "REPUBLISH_AFTER_SECONDS": "2",
    "WORKER_CONCURRENCY": "3",
}
LIMIT_BYTES = 1024 * 1024
PRINTED_MEGABYTES = 200
SHOWN_WITHIN_SECONDS = 2.0

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def say_always(request: pytest.FixtureRequest) -> Say:
    """Print past pytest's capturing: the figures of a test that passed are wanted as well."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def printed(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}")

    return printed


@pytest.fixture
def say(say_always: Say, request: pytest.FixtureRequest) -> Say:
    return lambda text: say_always(f"{request.node.name}: {text}")


@pytest.fixture(scope="module")
def running(say_always: Say) -> Iterator[Service]:
    """A service with one worker and one beat; at the end all its runs are accounted for."""
    with service(**QUICK) as started:
        started.start_worker()
        started.start_beat()
        yield started
        wait_until(lambda: is_quiet(started), deadline_seconds=60, what="every run is over")
        figures = audit(started)
        say_always(f"audit of {__name__}: {figures}")
        assert figures.is_clean


def by_hand(running: Service, *arguments: str) -> "subprocess.Popen[str]":
    """Start ``manage.py`` and do not wait for it."""
    return subprocess.Popen(
        (sys.executable, "manage.py", *arguments),
        cwd=ROOT,
        env=running.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_by_hand(running: Service, job: str) -> UUID:
    """The newest run of this job that somebody started by hand, in the middle of its work."""
    found = wait_until(
        lambda: run_rows(running, "job = ? AND trigger = 'cli' AND status = 'running'", job),
        what=f"{job} runs by hand",
    )
    wait_for_start(running, found[-1].pk)
    return found[-1].pk


def newest_by_hand(running: Service, job: str) -> UUID:
    return run_rows(running, "job = ? AND trigger = 'cli'", job)[-1].pk


def short(pk: UUID) -> str:
    return str(pk)[:8]


# --- Cancelling


def test_a_cancelled_run_cleans_up_and_says_who_asked(running: Service) -> None:
    pk = call(running, "lasting", seconds=60, tenant="cancel")
    wait_for_start(running, pk)
    cancel(running, pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code, row.cancelled_by, row.error) == (
        "cancelled",
        130,
        "ann",
        "Cancelled by ann.",
    )
    assert whats(running, pk) == ["begin", "cleanup"]


def test_a_run_that_was_cancelled_in_the_queue_never_starts(running: Service) -> None:
    first = call(running, "queueing", seconds=60, tenant="cancel queued")
    wait_for_start(running, first)
    second = call(running, "queueing", tenant="cancel queued")
    wait_for_status(running, second, "queued")
    cancel(running, second)
    assert wait_for_end(running, second).status == "cancelled"
    release(running, first)
    # A message that comes late finds nothing to do.
    call(running, "queueing", task_id=second, tenant="cancel queued")
    wait_until(lambda: running.log("worker").count(f"[{second}] received") >= 2, what="a late message")
    assert whats(running, second) == []


def test_cancelling_a_composite_ends_its_child_with_it(running: Service) -> None:
    pk = call(running, "parent", seconds=60)
    wait_for_start(running, pk)
    child = wait_until(lambda: run_rows(running, "job = 'lasting' AND trigger = 'job'"))[-1]
    wait_for_start(running, child.pk)
    assert child.parent_id == pk
    cancel(running, pk)
    assert (wait_for_end(running, pk).status, wait_for_end(running, child.pk).status) == (
        "cancelled",
        "cancelled",
    )
    assert whats(running, child.pk) == ["begin", "cleanup"]
    assert whats(running, pk) == ["begin"]


def test_cancelling_a_child_is_a_failure_of_its_parent(running: Service) -> None:
    pk = call(running, "parent", seconds=60)
    wait_for_start(running, pk)
    child = wait_until(
        lambda: run_rows(running, "job = 'lasting' AND trigger = 'job' AND status = 'running'"),
    )[-1]
    wait_for_start(running, child.pk)
    cancel(running, child.pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.error) == ("failed", "lasting: Cancelled by ann.")
    assert wait_for_end(running, child.pk).status == "cancelled"


def test_a_job_that_will_not_be_cancelled_is_killed_after_its_grace(running: Service) -> None:
    pk = call(running, "lasting", seconds=60, tenant="stubborn", stubborn=True)
    wait_for_start(running, pk)
    cancel(running, pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.error) == (
        "cancelled",
        "Cancelled by ann. It did not end when asked to and was killed.",
    )
    assert whats(running, pk) == ["begin"]


# --- Time limits


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


# --- Overlap


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


# --- Retries


def test_a_failed_run_is_tried_again_and_each_attempt_stays_readable(running: Service, say: Say) -> None:
    pk = call(running, "restarting", seconds=0.1, fail_first=2, tenant="retries")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt, row.error) == ("succeeded", 3, "")
    attempts = attempts_of(running, pk)
    assert [(each.number, each.status) for each in attempts] == [(1, "failed"), (2, "failed")]
    for each in attempts:
        assert re.fullmatch(rf"OSError: attempt {each.number} failed in process \d+", each.error)
    for number in 1, 2, 3:
        assert output_of(running, pk, attempt=number) == f"working on attempt {number}\n"
    assert [trace.attempt for trace in traces(running, pk, "begin")] == [1, 2, 3]


def test_a_run_that_fails_at_every_attempt_fails(running: Service) -> None:
    pk = call(running, "restarting", seconds=0.1, fail_first=9, tenant="hopeless")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt, row.exit_code) == ("failed", 3, 1)
    assert row.error.startswith("OSError: attempt 3 failed")
    assert len(attempts_of(running, pk)) == 2


# --- Progress and output


def test_progress_and_output_are_seen_while_the_job_runs(running: Service, say: Say) -> None:
    pk = call(running, "lasting", seconds=60, tenant="live")
    wait_for_start(running, pk)
    begin = time.monotonic()
    wait_until(lambda: output_of(running, pk) == "working on attempt 1\n", deadline_seconds=20)
    shown = time.monotonic() - begin
    wait_until(lambda: (row := run_row(running, pk)) and row.progress_done, deadline_seconds=20)
    counted = time.monotonic() - begin
    row = wait_for_status(running, pk, "running")
    assert row.progress_total == 600
    release(running, pk)
    say(f"output after {shown:.2f} s, progress after {counted:.2f} s")
    assert max(shown, counted) < SHOWN_WITHIN_SECONDS


def test_much_output_fills_neither_the_database_nor_the_memory(running: Service, say: Say) -> None:
    pk = call(running, "printing", megabytes=PRINTED_MEGABYTES)
    assert wait_for_end(running, pk, deadline_seconds=100).status == "succeeded"
    done = subprocess.run(
        (sys.executable, "manage.py", "printing", "--megabytes", str(PRINTED_MEGABYTES)),
        cwd=ROOT,
        env=running.environment,
        stdout=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0
    (worker,), (hand,) = (
        [trace.what for trace in traces(running, each, "seconds=")]
        for each in (pk, newest_by_hand(running, "printing"))
    )
    count, length = output_size(running, pk)
    say(f"{count} rows, {length:,} characters; by the worker {worker}, by hand to /dev/null {hand}")
    assert count <= 40
    assert length <= LIMIT_BYTES + 100
    assert "bytes left out here" in output_of(running, pk)


def test_odd_characters_are_kept_readable(running: Service) -> None:
    pk = call(running, "printing", odd=True)
    assert wait_for_end(running, pk).status == "succeeded"
    assert output_of(running, pk).splitlines() == [
        r"bad \udcff\udcfe byte",
        "a␀b",
        r"lone \ud800 surrogate",
        "snake 🐍",
        "\x1b[31mred\x1b[0m",
    ]


def test_a_very_long_line_is_kept_at_both_ends(running: Service) -> None:
    pk = call(running, "printing", long_line=5 * LIMIT_BYTES)
    assert wait_for_end(running, pk).status == "succeeded"
    count, length = output_size(running, pk)
    assert count <= 40
    assert length <= LIMIT_BYTES + 100
    assert output_of(running, pk).endswith("y\n")


def test_a_full_disk_is_a_clear_failure(running: Service) -> None:
    row = wait_for_end(running, call(running, "printing", full_disk=True))
    assert (row.status, row.exit_code) == ("failed", 1)
    assert row.error == "OSError: [Errno 28] No space left on device"


def test_by_hand_a_full_disk_under_the_output_is_a_clear_failure(running: Service) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            (sys.executable, "manage.py", "printing", "--odd"),
            cwd=ROOT,
            env={**running.environment, "PYTHONIOENCODING": "utf-8:replace"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    row = wait_for_end(running, newest_by_hand(running, "printing"))
    assert row.status == "failed"
    assert "No space left on device" in row.error
    assert done.returncode != 0
    assert "No space left on device" in done.stderr


# --- What a job leaves behind


@pytest.mark.parametrize(
    "disorder",
    [
        {"transaction": True},
        {"atomic": True},
        {"close": True},
        {"settings_of_process": True},
        {"transaction": True, "exit": 3},
    ],
    ids="+".join,
)
def test_what_a_job_leaves_behind_does_not_reach_the_next_one(
    running: Service, disorder: dict[str, Any]
) -> None:
    # The other children have something to do: both runs are executed by the same one.
    busy = [call(running, "allowing", seconds=60) for _ in range(int(QUICK["WORKER_CONCURRENCY"]) - 1)]
    for pk in busy:
        wait_for_start(running, pk)
    first = call(running, "leaving", **disorder)
    row = wait_for_end(running, first)
    second = call(running, "leaving")
    assert wait_for_end(running, second).status == "succeeded"
    release(running, *busy)
    code = disorder.get("exit", 0)
    assert (row.status, row.exit_code, row.who) == ("failed" if code else "succeeded", code, "")
    assert state_found_by(running, first) == state_found_by(running, second)


def state_found_by(running: Service, pk: UUID) -> dict[str, Any]:
    """In what state the job found its process, and which process it was."""
    state: dict[str, Any] = json.loads(output_of(running, pk))
    return state


def test_sys_exit_is_the_exit_code(running: Service) -> None:
    row = wait_for_end(running, call(running, "leaving", exit=3))
    assert (row.status, row.exit_code, row.error) == ("failed", 3, "The job exited with code 3.")


@pytest.mark.parametrize(
    ("signum", "status", "exit_code"), [(signal.SIGINT, "cancelled", 130), (signal.SIGTERM, "failed", 143)]
)
def test_a_signal_by_hand_ends_the_run_with_its_exit_code(
    running: Service, signum: signal.Signals, status: str, exit_code: int
) -> None:
    hand = by_hand(running, "lasting", "--tenant", f"signal {signum}", "--seconds", "60")
    pk = run_by_hand(running, "lasting")
    hand.send_signal(signum)
    _, error = hand.communicate(timeout=40)
    row = wait_for_end(running, pk)
    assert (hand.returncode, row.status, row.exit_code) == (exit_code, status, exit_code)
    assert "Traceback" not in error
    assert whats(running, pk) == ["begin", "cleanup"]


def test_runs_from_the_admin_take_the_same_way(running: Service) -> None:
    (pk,) = enqueue(running, "lasting", seconds=0.1, tenant="admin")
    row = wait_for_end(running, pk)
    assert (row.status, row.trigger, whats(running, pk)) == (
        "succeeded",
        "admin",
        ["begin", "end", "cleanup"],
    )
