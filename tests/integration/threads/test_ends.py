"""Jobs in threads end at their limits and when they are cancelled, if they can be ended at all."""

from uuid import UUID

import psutil

from tests.integration.faults.workers import seconds_between
from tests.integration.ledger import (
    call,
    cancel,
    output_of,
    run_row,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.integration.processes import is_alive
from tests.integration.service import Service
from tests.integration.threads.workers import LEASE_SECONDS, end_file, enqueue_limited, fifo, let_read
from tests.waiting import wait_until

GOES_ON = "A thread cannot be killed"


def goes_on(running: Service, pk: UUID) -> bool:
    return GOES_ON in output_of(running, pk)


def is_renewed(running: Service, pk: UUID) -> bool:
    """Whether the run's lease is renewed although its first one has ended."""
    row = run_row(running, pk)
    assert row
    is_renewed = seconds_between(row.started_at, row.heartbeat_at) > LEASE_SECONDS
    # It may have ended since, on a busy machine.
    assert is_renewed or row.status == "running"
    return is_renewed


def test_a_job_that_waits_in_python_ends_at_its_time_limit(running: Service, worker: str) -> None:
    with end_file(running, "never") as never:
        pk = enqueue_limited(running, "waiting", limit=0.5, grace=60, until=str(never))
        row = wait_for_end(running, pk)
    assert (row.status, row.reason, row.exit_code) == ("timed_out", "time_limit", 124)
    assert whats(running, pk) == ["begin", "cleanup"]
    assert output_of(running, pk).endswith("word cleanup\n")


def test_a_job_that_is_cancelled_ends_and_the_others_go_on(running: Service, worker: str) -> None:
    with end_file(running, "others may end") as go:
        pks = [call(running, "waiting", until=str(go)) for _ in range(3)]
        for pk in pks:
            wait_for_start(running, pk)
        cancel(running, pks[1])
        row = wait_for_end(running, pks[1])
        assert (row.status, row.reason) == ("cancelled", "user")
        assert [wait_for_status(running, pk, "running").pk for pk in (pks[0], pks[2])]
    assert [wait_for_end(running, pk).status for pk in (pks[0], pks[2])] == ["succeeded"] * 2


def test_a_coroutine_that_waits_is_cancelled_at_once(running: Service, worker: str) -> None:
    pk = call(running, "asynchronous", app_label="shapes", last=True)
    wait_for_start(running, pk)
    cancel(running, pk)
    assert wait_for_end(running, pk).status == "cancelled"
    assert whats(running, pk) == ["begin", "cleanup"]


def test_a_thread_that_waits_in_a_system_call_keeps_its_run_until_the_call_returns(
    running: Service, worker: str
) -> None:
    with fifo(running, "slow server") as path:
        pk = enqueue_limited(running, "waiting", limit=0.5, grace=0.5, read=str(path))
        wait_until(lambda: goes_on(running, pk), what="its output says that it goes on")
        wait_until(lambda: is_renewed(running, pk), what="its lease is renewed")
        assert f"Run {pk} of waiting: This run is to end as timed out" in running.log(worker)
        let_read(path)
        row = wait_for_end(running, pk)
    assert (row.status, row.reason, row.attempt) == ("timed_out", "time_limit", 1)
    assert whats(running, pk) == ["begin", "cleanup"]


def test_its_key_is_held_as_long(running: Service, worker: str) -> None:
    with end_file(running, "stubborn may end") as go:
        options = {"until": str(go), "seconds": 600, "stubborn": True, "tenant": "stubborn"}
        pk = enqueue_limited(running, "lasting", limit=0.5, grace=0.5, **options)
        wait_until(lambda: goes_on(running, pk), what="its output says that it goes on")
        other = wait_for_end(running, call(running, "lasting", seconds=0, tenant="stubborn"))
        assert (other.status, other.reason) == ("skipped", "overlap")
    assert wait_for_end(running, pk).is_over


def test_what_a_job_has_started_ends_with_it_and_what_others_have_started_does_not(
    running: Service, worker: str
) -> None:
    with end_file(running, "the other may end") as go:
        other = call(running, "waiting", sleep=True, until=str(go))
        wait_for_start(running, other)
        pk = call(running, "waiting", sleep=True)
        assert wait_for_end(running, pk).status == "succeeded"
        mine, others = (wait_until(lambda each=each: child_of(running, each)) for each in (pk, other))  # type: ignore[misc]
        wait_until(lambda: not is_alive(mine), what="what it has left has ended")
        assert psutil.Process(others).ppid() == running.processes[worker].pid
    wait_for_end(running, other)
    wait_until(lambda: not is_alive(others), what="what the other has left has ended as well")


def child_of(running: Service, pk: UUID) -> int:
    """The process that the job has left, once it has said so; 0 before."""
    found = traces(running, pk, "child=")
    return int(found[0].what.removeprefix("child=")) if found else 0
