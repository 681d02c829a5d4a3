"""A process that ends at once, by ``os._exit`` or a signal, records its runs before."""

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NoReturn

import pytest

from jobledger.runs.execution import abrupt_ends
from jobledger.runs.outcome import SignalExit
from jobledger.runs.output.recorder import LOCK

pytestmark = pytest.mark.usefixtures("heeded_signals")

Running = Callable[..., AbstractContextManager[None]]


class Died(BaseException):
    """Instead of the end of the test's process."""


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals and exit codes by which this process would have died."""
    found: list[int] = []

    def die(number: int) -> NoReturn:
        found.append(number)
        raise Died

    monkeypatch.setattr(abrupt_ends, "die", die)
    monkeypatch.setattr(os, "_exit", die)
    return found


@pytest.fixture
def recorded() -> list[object]:
    return []


@pytest.fixture
def running(recorded: list[object]) -> Running:
    """A job that is running, and whose end is recorded as a name with an exit code."""

    def run(name: str = "job", *, by_other_thread: bool = False) -> AbstractContextManager[None]:
        def record(end: SystemExit) -> None:
            recorded.append((name, end.code))

        return abrupt_ends.running(record, by_other_thread=by_other_thread)

    return run


def dies_in(command: Callable[[], None]) -> None:
    with pytest.raises(Died), abrupt_ends.handled(abrupt_ends.record_and_die):
        command()


@pytest.mark.parametrize("number", abrupt_ends.SIGNALS)
def test_a_signal_ends_the_process_once_the_run_is_recorded(
    died: list[int], recorded: list[object], running: Running, number: signal.Signals
) -> None:
    with pytest.raises(Died), abrupt_ends.handled(abrupt_ends.record_and_die), running():
        signal.raise_signal(number)
    assert (recorded, died) == ([("job", 128 + number)], [number])
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_raises_in_a_job_that_cleans_up(
    died: list[int], recorded: list[object], running: Running
) -> None:
    with pytest.raises(SignalExit) as raised, abrupt_ends.handled(abrupt_ends.raise_exit), running():
        signal.raise_signal(signal.SIGTERM)
    assert (raised.value.code, recorded, died) == (143, [], [])


@pytest.mark.parametrize("code", [0, 3])
def test_os_exit_exits_once_all_runs_are_recorded_the_innermost_first(
    died: list[int], recorded: list[object], running: Running, code: int
) -> None:
    with pytest.raises(Died), abrupt_ends.handled(abrupt_ends.raise_exit), running("outer"), running("inner"):
        os._exit(code)
    assert (recorded, died) == ([("inner", code), ("outer", code)], [code])


def test_os_exit_is_restored_and_what_a_job_has_put_in_its_place_is_kept() -> None:
    original = os._exit
    with abrupt_ends.handled(abrupt_ends.raise_exit):
        assert os._exit is not original
    assert os._exit is original
    with abrupt_ends.handled(abrupt_ends.raise_exit):
        os._exit = replaced = lambda status: None  # type: ignore[assignment]
    assert os._exit is replaced
    os._exit = original


def test_a_child_that_a_job_forks_records_nothing(recorded: list[object], running: Running) -> None:
    with abrupt_ends.handled(abrupt_ends.record_and_die), running():
        if (pid := os.fork()) == 0:
            os._exit(7 if not recorded else 8)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        if (pid := os.fork()) == 0:
            signal.raise_signal(signal.SIGHUP)
            os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    assert recorded == []


def test_a_signal_waits_while_a_run_is_created(
    died: list[int], recorded: list[object], running: Running
) -> None:
    reached: list[str] = []

    def command() -> None:
        with abrupt_ends.undivided():
            signal.raise_signal(signal.SIGTERM)
            reached.append("created")
            with running():
                reached.append("running")

    dies_in(command)
    assert (reached, recorded, died) == (["created"], [("job", 143)], [signal.SIGTERM])


def test_a_signal_waits_while_the_end_of_a_run_is_recorded(
    died: list[int], recorded: list[object], running: Running
) -> None:
    reached: list[str] = []

    def command() -> None:
        with abrupt_ends.undivided():
            with running():
                pass
            signal.raise_signal(signal.SIGTERM)
            reached.append("recorded")

    dies_in(command)
    assert (reached, recorded, died) == (["recorded"], [], [signal.SIGTERM])


def test_a_second_signal_does_not_wait(died: list[int]) -> None:
    def command() -> None:
        with abrupt_ends.undivided():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    dies_in(command)
    assert died == [signal.SIGTERM]


def test_a_job_that_calls_another_one_is_still_running_after_that(
    died: list[int], recorded: list[object], running: Running
) -> None:
    def command() -> None:
        with abrupt_ends.undivided(), running("outer"):
            with abrupt_ends.undivided(), running("inner"):
                pass
            signal.raise_signal(signal.SIGTERM)

    dies_in(command)
    assert (recorded, died) == ([("outer", 143)], [signal.SIGTERM])


def test_a_signal_that_has_waited_for_the_end_of_a_called_job_ends_its_caller(
    died: list[int], recorded: list[object], running: Running
) -> None:
    reached: list[str] = []

    def command() -> None:
        with abrupt_ends.undivided(), running("outer"):
            with abrupt_ends.undivided():
                with running("inner"):
                    pass
                signal.raise_signal(signal.SIGTERM)
                reached.append("inner is recorded")
            reached.append("outer goes on")

    dies_in(command)
    assert (reached, recorded, died) == (["inner is recorded"], [("outer", 143)], [signal.SIGTERM])


@pytest.mark.parametrize("number", abrupt_ends.SIGNALS)
def test_a_process_that_ignores_a_signal_still_does(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with abrupt_ends.handled(abrupt_ends.record_and_die):
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_in_another_thread_than_the_main_one_nothing_is_handled(
    recorded: list[object], running: Running
) -> None:
    original, found = os._exit, list[object]()

    def command() -> None:
        with abrupt_ends.handled(abrupt_ends.record_and_die), abrupt_ends.undivided(), running():
            found.append(os._exit)

    thread = threading.Thread(target=command)
    thread.start()
    thread.join()
    assert (found, recorded) == ([original], [])


def test_another_thread_records_and_may_take_what_this_one_holds(
    died: list[int], running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def record(end: SystemExit) -> None:
        with LOCK:
            threads.append(threading.get_ident())

    monkeypatch.setattr(abrupt_ends, "_roll_back_sqlite", lambda: None)

    def command() -> None:
        with abrupt_ends.running(record, by_other_thread=True):
            LOCK.acquire()  # as in the middle of a write
            signal.raise_signal(signal.SIGTERM)

    dies_in(command)
    (thread,) = threads
    assert thread != threading.get_ident()
    assert died == [signal.SIGTERM]


def test_a_record_that_takes_too_long_is_given_up(died: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    can_go_on = threading.Event()

    def record(end: SystemExit) -> None:
        can_go_on.wait()

    monkeypatch.setattr(abrupt_ends, "RECORD_SECONDS", 0.01)
    monkeypatch.setattr(abrupt_ends, "_roll_back_sqlite", lambda: None)
    handled = abrupt_ends.handled(abrupt_ends.record_and_die)
    with pytest.raises(Died), handled, abrupt_ends.running(record, by_other_thread=True):
        os._exit(1)
    can_go_on.set()
    assert died == [1]


def test_the_first_process_of_a_container_which_survives_the_signal_exits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leave(status: int) -> NoReturn:
        raise SystemExit(status)

    monkeypatch.setattr(signal, "raise_signal", lambda number: None)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as exit_:
        abrupt_ends.die(signal.SIGTERM)
    assert exit_.value.code == 143
