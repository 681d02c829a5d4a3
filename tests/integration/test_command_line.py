"""``manage.py jobledger`` with real processes: a run is followed, left alone, cancelled and retried."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from tests.integration.command_line import from_command_line, short
from tests.integration.ledger import call, call_lasting, let_end, run_row, wait_for_end, wait_for_start
from tests.integration.service import Service
from tests.waiting import DEADLINE_SECONDS


@contextmanager
def managed(running: Service, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of ``manage.py jobledger``, which the test has to end."""
    with from_command_line(running, "jobledger", *arguments) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def following(running: Service, run: UUID) -> Iterator["subprocess.Popen[str]"]:
    """A process that follows the run, once it has printed something."""
    with managed(running, "show", str(run), "--follow") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("working")
        yield process


def status_of(running: Service, run: UUID) -> str:
    row = run_row(running, run)
    return row.status if row else ""


def started(running: Service, tenant: str) -> UUID:
    """A run that continues until it is allowed to end, or is cancelled."""
    run = call_lasting(running, "lasting", tenant=tenant)
    wait_for_start(running, run)
    return run


def test_the_ledger_is_read_as_json(running: Service) -> None:
    run = call(running, "probe", words=["out"])
    wait_for_end(running, run)
    done = running.manage("jobledger", "runs", "--json", "--limit", "1")
    (read,) = json.loads(done.stdout)
    assert (read["id"], read["status"], read["options"]) == (str(run), "succeeded", {"words": ["out"]})


def test_output_is_followed_until_the_run_ends(running: Service) -> None:
    run = started(running, "followed")
    with following(running, run) as process:
        assert status_of(running, run) == "running"
        with let_end(running, "lasting"):
            stdout, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, stdout) == (0, "")
    assert stderr.endswith(f"Run {short(run)}: succeeded\n")


def test_following_a_failed_run_exits_with_its_exit_code(running: Service) -> None:
    run = call(running, "probe", words=["out"], warn="careful", fail="too bad", returncode=4)
    assert wait_for_end(running, run).status == "failed"
    done = running.manage("jobledger", "show", str(run), "--follow")
    assert (done.returncode, done.stdout) == (4, "out\n")
    assert done.stderr == f"careful\nRun {short(run)}: failed: too bad\n"


def test_an_interrupt_stops_following_but_not_the_run(running: Service) -> None:
    run = started(running, "left alone")
    with following(running, run) as process:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert "the run continues" in stderr
    assert "Traceback" not in stderr
    assert status_of(running, run) == "running"
    with let_end(running, "lasting"):
        assert wait_for_end(running, run).status == "succeeded"


def test_a_cancelled_run_ends_and_names_the_user(running: Service) -> None:
    run = started(running, "cancelled")
    with following(running, run) as process:
        done = running.manage("jobledger", "cancel", str(run)[:13], "--reason", "too slow")
        _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    # The run may end before the command looks at it again.
    assert re.search(r"cancellation requested|was cancelled", done.stdout)
    assert process.returncode == 130
    assert "(too slow)" in stderr
    assert status_of(running, run) == "cancelled"
    assert running.manage("jobledger", "cancel", str(run)).returncode == 1


def test_a_retried_run_repeats_the_job_with_its_options(running: Service) -> None:
    old = call(running, "probe", words=["again"])
    wait_for_end(running, old)
    new = UUID(running.manage("jobledger", "retry", str(old)).stdout.strip())
    assert new != old
    assert wait_for_end(running, new).status == "succeeded"
    assert running.manage("jobledger", "show", str(new), "--follow").stdout == "again\n"


@pytest.mark.parametrize("more", [(), ("--follow",)])
def test_a_closed_pipe_is_not_an_error(running: Service, more: tuple[str, ...]) -> None:
    # Many times the capacity of a pipe, so that the writer notices that it is closed.
    run = call(running, "printing", megabytes=1)
    wait_for_end(running, run)
    with managed(running, "show", str(run), *more) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=DEADLINE_SECONDS) == 0
