"""A job is interrupted by an exception in its own thread, as long as it runs."""

import contextvars
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from types import FrameType

import pytest

from jobledger.models import Reason, Why
from jobledger.runs.lease import interrupts
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt, interruptible
from jobledger.runs.processes import forks
from tests.waiting import wait_until


def cancelled() -> JobCancelled:
    return JobCancelled(Why.of(Reason.USER, user="ann"), run_id=uuid.uuid4())


def in_another_thread(action: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_an_interrupt_wakes_a_sleeping_job() -> None:
    began = time.monotonic()
    with pytest.raises(JobCancelled, match="Cancelled by ann"):  # noqa: PT012,SIM117 - it is the sleep that ends
        with interruptible() as interrupter:
            in_another_thread(lambda: interrupter.interrupt(cancelled()))
            time.sleep(30)
    assert time.monotonic() - began < 20


def test_except_exception_does_not_swallow_it_and_finally_runs() -> None:
    cleaned = []

    def job(interrupter: Interrupter) -> None:
        try:
            interrupter.interrupt(cancelled())
            time.sleep(30)
        except Exception:  # noqa: BLE001 - what careless jobs do
            cleaned.append("swallowed")
        finally:
            cleaned.append("cleaned")

    with pytest.raises(JobInterrupt), interruptible() as interrupter:
        job(interrupter)
    assert cleaned == ["cleaned"]


def test_a_job_that_has_ended_is_no_longer_interrupted() -> None:
    with interruptible() as interrupter:
        pass
    interrupter.interrupt(cancelled())
    time.sleep(0)


def test_interrupting_an_outer_job_ends_the_inner_job_too() -> None:
    with pytest.raises(JobCancelled):  # noqa: PT012,SIM117 - it is the sleep that ends
        with interruptible() as outer, interruptible():
            outer.interrupt(cancelled())
            time.sleep(30)


def test_a_signal_during_the_handling_of_another_loses_no_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def signal_again(frame: FrameType | None) -> None:
        monkeypatch.setattr(interrupts, "_cancel_statements", lambda frame: None)
        signal.raise_signal(interrupts.SIGNAL)

    monkeypatch.setattr(interrupts, "_cancel_statements", signal_again)
    first, second = cancelled(), cancelled()
    caught: list[JobInterrupt] = []
    with interruptible() as interrupter:
        interrupts._pending += [(interrupter, first), (interrupter, second)]
        for _ in range(2):
            try:
                signal.raise_signal(interrupts.SIGNAL)
            except JobInterrupt as interrupt:
                caught.append(interrupt)
    assert caught == [first, second]


# Python warns of forks in a process with threads, which is what this test is about.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_interrupt_during_a_fork_is_raised_after_the_fork() -> None:
    is_inside, is_forked, is_over = threading.Event(), threading.Event(), threading.Event()

    def interrupt_during_the_fork() -> None:
        with forks._lock:
            is_inside.set()
            wait_until(forks.is_under_way, what="the fork waits for this thread")
            interrupter.interrupt(cancelled())
        assert is_forked.wait(30)
        while not is_over.wait(0.01):
            interrupter.resend()

    with pytest.raises(JobCancelled), interruptible() as interrupter:  # noqa: PT012 - it is the sleep that ends
        thread = in_another_thread(interrupt_during_the_fork)
        assert is_inside.wait(30)
        if (pid := os.fork()) == 0:
            os._exit(len(interrupts._pending))
        assert os.waitpid(pid, 0)[1] == 0
        is_forked.set()
        time.sleep(30)
    is_over.set()
    thread.join()


def test_in_another_thread_it_is_raised_the_next_time_that_python_code_runs() -> None:
    caught: list[str] = []
    ready, go_on = threading.Event(), threading.Event()
    interrupters: list[Interrupter] = []

    def job() -> None:
        try:
            with interruptible() as interrupter:
                interrupters.append(interrupter)
                ready.set()
                while not go_on.wait(0.01):
                    pass
        except JobCancelled as interrupt:
            caught.append(str(interrupt))

    thread = in_another_thread(job)
    ready.wait(10)
    interrupters[0].interrupt(cancelled())
    thread.join(10)
    go_on.set()
    assert caught == ["Cancelled by ann."]


def test_disarming_waits_for_an_interrupt_that_is_being_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    raising, ended, too_early = threading.Event(), threading.Event(), []

    def raise_slowly(*args: int) -> None:
        raising.set()
        too_early.append(ended.wait(0.2))

    monkeypatch.setattr(signal, "pthread_kill", raise_slowly)
    monkeypatch.setattr(interrupts, "_pending", [])
    interrupter = Interrupter()
    thread = in_another_thread(lambda: interrupter.interrupt(cancelled()))
    raising.wait(10)
    interrupter.disarm()
    ended.set()
    thread.join(10)
    assert too_early == [False]


def test_what_a_thread_waits_for_can_be_ended_in_its_place() -> None:
    raised, found, ended = [], list[JobInterrupt](), threading.Event()
    ready = threading.Event()

    def deliver(interrupt: JobInterrupt) -> None:
        found.append(interrupt)
        ended.set()

    def job() -> None:
        try:
            with interruptible(), of_this_thread().delivered_by(deliver):
                ready.set()
                ended.wait()
        except JobInterrupt:
            raised.append(True)

    def of_this_thread() -> Interrupter:
        interrupter = interrupts.of_this_thread()
        assert interrupter
        interrupters.append(interrupter)
        return interrupter

    interrupters: list[Interrupter] = []
    thread = in_another_thread(job)
    ready.wait()
    interrupters[0].interrupt(interrupt := cancelled())
    thread.join(10)
    assert (found, raised) == ([interrupt], [])


def test_a_thread_of_a_job_is_not_what_interrupts_the_job() -> None:
    found: list[object] = []
    with interruptible() as interrupter:
        assert interrupts.of_this_thread() is interrupter
        context = contextvars.copy_context()
        in_another_thread(lambda: found.append(context.run(interrupts.of_this_thread))).join()
    assert (found, interrupts.of_this_thread()) == ([None], None)
