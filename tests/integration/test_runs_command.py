"""``manage.py jobledger`` with real processes: a run is followed, left alone, cancelled and retried."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.service import ROOT, Service, service
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service(HEARTBEAT_SECONDS="0.3") as started:
        started.start_worker()
        yield started


def called(running: Service, job: str, options: str) -> str:
    return running.celery("call", f"probes.{job}", "--kwargs", options).stdout.strip()


def state_of(running: Service, run_id: str) -> str | None:
    return next((run["status"] for run in running.runs("--limit", "100") if run["id"] == run_id), None)


def wait_for(running: Service, run_id: str, status: str) -> None:
    wait_until(lambda: state_of(running, run_id) == status, what=f"the run is {status}")


def started(running: Service, tenant: str) -> str:
    """A run of its own tenant that is running, and goes on until it is finished or cancelled."""
    options = {"seconds": 600, "tenant": tenant, "until": str(running.folder / tenant)}
    run_id = called(running, "lasting", json.dumps(options))
    wait_for(running, run_id, "running")
    return run_id


def finish(running: Service, tenant: str) -> None:
    """Let the tenant's run succeed."""
    (running.folder / tenant).touch()


@contextmanager
def managed(running: Service, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of ``manage.py``, whose end is up to the test."""
    command = [sys.executable, "manage.py", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=running.environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def following(running: Service, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """A process that follows the run, as soon as it has shown something of it."""
    with managed(running, "jobledger", "show", run_id, "--follow") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("working")
        yield process


def test_output_is_seen_while_the_run_goes_on_and_its_end_is_the_followers(running: Service) -> None:
    run_id = started(running, "followed")
    with following(running, run_id) as process:
        assert state_of(running, run_id) == "running"
        finish(running, "followed")
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (0, "")
    assert stderr.endswith(f"Run {run_id[:8]}: succeeded\n")


def test_a_failed_run_fails_its_follower_with_its_own_code(running: Service) -> None:
    options = '{"words": ["out"], "warn": "careful", "fail": "too bad", "returncode": 4}'
    run_id = called(running, "probe", options)
    wait_for(running, run_id, "failed")
    done = running.manage("jobledger", "show", run_id, "--follow")
    assert (done.returncode, done.stdout) == (4, "out\n")
    assert done.stderr == f"careful\nRun {run_id[:8]}: failed: too bad\n"


def test_an_interrupt_ends_the_following_and_not_the_run(running: Service) -> None:
    run_id = started(running, "left alone")
    with following(running, run_id) as process:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the run goes on" in stderr
    assert "Traceback" not in stderr
    assert state_of(running, run_id) == "running"
    finish(running, "left alone")
    wait_for(running, run_id, "succeeded")


def test_a_cancelled_run_ends_and_says_who_asked(running: Service) -> None:
    run_id = started(running, "cancelled")
    with following(running, run_id) as process:
        done = running.manage("jobledger", "cancel", run_id[:13], "--reason", "too slow")
        _, stderr = process.communicate(timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "was asked to end" in done.stdout
    assert process.returncode == 130
    assert "(too slow)" in stderr
    assert state_of(running, run_id) == "cancelled"
    assert running.manage("jobledger", "cancel", run_id).returncode == 1


def test_a_retried_run_does_the_same_again(running: Service) -> None:
    old = called(running, "probe", '{"words": ["again"]}')
    wait_for(running, old, "succeeded")
    new = running.manage("jobledger", "retry", old).stdout.strip()
    assert new != old
    wait_for(running, new, "succeeded")
    assert running.manage("jobledger", "show", new, "--follow").stdout == "again\n"


@pytest.mark.parametrize("more", [(), ("--follow",)])
def test_a_reader_that_has_enough_is_no_error(running: Service, more: tuple[str, ...]) -> None:
    # Many times what a pipe holds, so that the writer meets the closed end.
    run_id = called(running, "printing", '{"megabytes": 1}')
    wait_for(running, run_id, "succeeded")
    with managed(running, "jobledger", "show", run_id, *more) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 0
