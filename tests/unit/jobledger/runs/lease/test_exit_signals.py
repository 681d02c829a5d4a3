"""A signal that ends a job raises an exception in it, and is on its run."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from django.core.management.base import BaseCommand
from django.db import OperationalError
from pytest_django import Settings

from jobledger.jobs.registry import Job
from jobledger.models import Run, Trigger
from jobledger.runs import attempts
from jobledger.runs.execution import runner
from jobledger.runs.lease.exit_signals import EXIT_SIGNALS, defer_exit_signals, exit_on_signals
from jobledger.runs.outcome import Outcome
from jobledger.runs.processes import billiard_internals
from tests.probes.management.commands.probe import Command
from tests.unit.builders import override

Replaced = list[str]


def as_the_pool(signum: int, frame: FrameType | None) -> None:
    """Celery's pool exits in this way at most of the signals."""
    sys.exit(-(256 - signum))


@pytest.fixture(autouse=True)
def in_a_child() -> Iterator[None]:
    before = {number: signal.signal(number, as_the_pool) for number in EXIT_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Replaced:
    noted: Replaced = []
    monkeypatch.setattr(billiard_internals, "exit_after_this_task", lambda: noted.append("replaced"))
    return noted


def executed(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> Run:
    monkeypatch.setattr(Command, "handle", lambda *args, **options: work())
    run = Run.objects.create(job="probe", trigger=Trigger.CELERY)
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    return ended.run


@pytest.mark.django_db
@pytest.mark.parametrize("number", EXIT_SIGNALS)
def test_a_job_that_a_signal_ends_fails_with_the_signal_as_the_reason(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals, replaced: Replaced
) -> None:
    run = executed(monkeypatch, lambda: signal.raise_signal(number))
    assert (run.status, run.reason, run.exit_code, run.exit_signal) == (
        "failed",
        "signal",
        128 + number,
        number.name,
    )
    assert run.reason_details["signal"] == number.name
    assert replaced == ["replaced"]


@pytest.mark.django_db
def test_the_handlers_of_the_pool_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    executed(monkeypatch, lambda: None)
    assert [signal.getsignal(number) for number in EXIT_SIGNALS] == [as_the_pool] * len(EXIT_SIGNALS)


@pytest.mark.django_db
def test_a_handler_of_the_jobs_own_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []

    def work() -> None:
        signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
        signal.raise_signal(signal.SIGTERM)

    run = executed(monkeypatch, work)
    assert (run.status, received) == ("succeeded", [signal.SIGTERM])
    assert signal.getsignal(signal.SIGTERM) is as_the_pool


@pytest.mark.django_db
def test_a_signal_before_the_job_begins_ends_the_run_and_not_the_process(
    monkeypatch: pytest.MonkeyPatch, replaced: Replaced
) -> None:
    create_command = Job.create_command

    def create_and_signal(job: Job) -> BaseCommand:
        # Not again for the parser that says which options are secret, if no other test has asked for it.
        monkeypatch.setattr(Job, "create_command", create_command)
        signal.raise_signal(signal.SIGTERM)
        return create_command(job)

    monkeypatch.setattr(Job, "create_command", create_and_signal)
    run = executed(monkeypatch, pytest.fail)
    assert (run.status, run.reason, run.exit_code) == ("failed", "signal", 143)
    assert replaced == ["replaced"]


@pytest.mark.django_db
def test_a_signal_while_the_end_is_recorded_does_not_keep_it_from_being_recorded(
    monkeypatch: pytest.MonkeyPatch, replaced: Replaced
) -> None:
    end = attempts.end

    def end_and_signal(run: Run, outcome: Outcome) -> bool:
        signal.raise_signal(signal.SIGTERM)
        return end(run, outcome)

    monkeypatch.setattr(attempts, "end", end_and_signal)
    run = executed(monkeypatch, lambda: None)
    assert (run.status, run.exit_code) == ("succeeded", 0)
    assert replaced == ["replaced"]


@pytest.mark.django_db(transaction=True)
def test_whoever_ends_a_child_during_an_outage_waits_for_no_database(
    monkeypatch: pytest.MonkeyPatch, replaced: Replaced, settings: Settings
) -> None:
    override(settings, HEARTBEAT_SECONDS=0.01)
    end, calls = attempts.end, list[str]()

    def unavailable_once(run: Run, outcome: Outcome) -> bool:
        calls.append(outcome.status)
        if len(calls) > 1:
            return end(run, outcome)
        signal.raise_signal(signal.SIGTERM)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(attempts, "end", unavailable_once)
    run = executed(monkeypatch, lambda: None)
    assert (run.status, calls) == ("running", ["succeeded"])


def test_a_signal_that_was_deferred_does_not_end_the_next_job(replaced: Replaced) -> None:
    with defer_exit_signals():
        signal.raise_signal(signal.SIGTERM)
    with defer_exit_signals(), exit_on_signals():
        assert replaced == ["replaced"]


@pytest.fixture
def ignores_sigint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a worker's child does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.django_db
@pytest.mark.usefixtures("ignores_sigint")
def test_sigint_ends_a_job_and_its_subprocesses_in_a_process_group_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getpgid", lambda pid: -1)

    def handle() -> None:
        # In a shell that ignores it, a trap for it has no effect.
        assert subprocess.run(["sh", "-c", "kill -INT $$"], check=False).returncode == -signal.SIGINT
        signal.raise_signal(signal.SIGINT)

    run = executed(monkeypatch, handle)
    assert (run.status, run.reason, run.exit_code) == ("cancelled", "interrupted", 130)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.django_db
@pytest.mark.usefixtures("ignores_sigint")
def test_sigint_is_ignored_in_the_process_group_of_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpgid", lambda pid: os.getpgrp())
    run = executed(monkeypatch, lambda: signal.raise_signal(signal.SIGINT))
    assert run.status == "succeeded"


def test_a_process_that_ignores_a_signal_continues_to_do_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with exit_on_signals():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
