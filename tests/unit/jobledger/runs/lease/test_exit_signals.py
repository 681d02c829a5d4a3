"""A signal that ends a job raises an exception in it, and is on its run."""

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from jobledger.models import Run, Trigger
from jobledger.runs.execution import runner
from jobledger.runs.lease.exit_signals import EXIT_SIGNALS, exit_on_signals
from jobledger.runs.worker import billiard_internals
from tests.probes.management.commands.probe import Command

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


def test_a_process_that_ignores_a_signal_continues_to_do_so() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with exit_on_signals():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
