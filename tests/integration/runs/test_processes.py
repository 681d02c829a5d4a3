"""What jobs start ends with them, however they end, except for daemons, which are named on the run."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from tests.integration.command_line import from_command_line, run_from_command_line
from tests.integration.ledger import (
    RunRow,
    call,
    cancel,
    output_of,
    traces,
    wait_for_end,
    wait_for_start,
)
from tests.integration.processes import is_alive
from tests.integration.service import Service
from tests.waiting import DEADLINE_SECONDS, wait_until

KINDS = ["child", "pipeline", "orphan", "pool", "daemon"]
LEFT = "from jobledger.models import Run; print(Run.objects.get(pk='{pk}').left_behind)"


def started_by(running: Service, pk: UUID) -> dict[str, list[int]]:
    """The ids of the processes that the job has started, by kind."""
    found: dict[str, list[int]] = {}
    for trace in traces(running, pk):
        kind, is_process, pid = trace.what.partition("=")
        if is_process:
            found.setdefault(kind, []).append(int(pid))
    return found


@contextmanager
def ends_its_processes(running: Service, pk: UUID) -> Iterator[None]:
    """After the block, the run is over and its processes are gone, but not its daemon, which is named."""
    wait_for_start(running, pk)
    started = started_by(running, pk)
    (daemon,) = started.pop("daemon")
    others = [pid for pids in started.values() for pid in pids]
    assert all(map(is_alive, [*others, daemon]))
    try:
        yield
        wait_for_end(running, pk)
        wait_until(lambda: not any(map(is_alive, others)), what="its processes are gone")
        assert is_alive(daemon)
        named = str([{"pid": daemon, "name": "sleep 600"}])
        # The worker does so after a child that has recorded the end of the run and then killed itself.
        wait_until(lambda: running.shell(LEFT.format(pk=pk)) == named, what="its daemon is named")
    finally:
        os.kill(daemon, signal.SIGKILL)


def executed(running: Service, **options: Any) -> RunRow:
    return wait_for_end(running, call(running, "spawning", **options))


def test_the_processes_of_a_cancelled_job_end(running: Service) -> None:
    # Python cannot interrupt a job while it waits for a shell, which therefore has to end.
    pk = call(running, "spawning", kinds=KINDS, in_shell=True, seconds=600)
    with ends_its_processes(running, pk):
        cancel(running, pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.reason_details) == ("cancelled", {"user": "ann"})


def test_the_processes_of_a_job_that_does_not_stop_are_killed_with_it(running: Service) -> None:
    pk = call(running, "spawning", kinds=[*KINDS, "stubborn"], seconds=600, stubborn=True)
    with ends_its_processes(running, pk):
        cancel(running, pk)
    assert wait_for_end(running, pk).reason_details == {"user": "ann", "killed_by": "itself"}


def test_the_worker_ends_the_processes_of_a_child_that_was_killed(running: Service) -> None:
    pk = call(running, "spawning", kinds=KINDS, seconds=600)
    with ends_its_processes(running, pk):
        os.kill(wait_for_start(running, pk).pid, signal.SIGKILL)
    row = wait_for_end(running, pk)
    assert (row.status, row.reason) == ("lost", "lost_process")


def test_on_the_command_line_the_processes_of_a_cancelled_job_end(running: Service) -> None:
    command = from_command_line(running, "spawning", "--kinds", *KINDS, "--seconds", "600")
    pk = run_from_command_line(running, "spawning")
    with ends_its_processes(running, pk):
        cancel(running, pk)
        assert command.wait(DEADLINE_SECONDS) == 130
    command.communicate()
    assert wait_for_end(running, pk).status == "cancelled"


def test_all_of_multiprocessing_works_in_a_job(running: Service) -> None:
    row = executed(running, methods=["fork", "forkserver", "spawn"])
    assert (row.status, row.error) == ("succeeded", "")
    assert output_of(running, row.pk) == "[-2, -3, -4, -5]\n" * 3


@pytest.mark.parametrize("kinds", [["child"], ["daemon"]], ids="+".join)
def test_no_run_is_delayed_or_lost_while_children_are_replaced(
    running: Service, kinds: Sequence[str]
) -> None:
    calls = [call(running, "spawning", kinds=list(kinds)) for _ in range(9)]
    assert [wait_for_end(running, pk).status for pk in calls] == ["succeeded"] * 9
    for pk in calls:
        for pid in started_by(running, pk).get("daemon", []):
            os.kill(pid, signal.SIGKILL)
