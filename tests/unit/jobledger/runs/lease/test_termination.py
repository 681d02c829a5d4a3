"""A job is interrupted at its time limit or on request, and killed after its grace period."""

import os
import signal
import threading
from datetime import timedelta
from uuid import uuid4

import pytest

from jobledger.models import Reason, Why
from jobledger.runs.lease import termination
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt, JobTimedOut
from jobledger.runs.lease.termination import Recording, Termination
from jobledger.runs.limits import Limits
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.process_tree import ProcessTree
from tests.waiting import wait_until

RUN = uuid4()
NOW = timedelta(0)
HOUR = timedelta(hours=1)


class Tree(ProcessTree):
    """The processes of the job, to which nothing is really done."""

    def __init__(self, done: list[str]) -> None:
        super().__init__(RUN, is_nested=False)
        self.done = done

    def terminate(self) -> None:
        self.done.append("tree asked to end")

    def kill(self) -> None:
        self.done.append("tree killed")


class Scene(Interrupter):
    """A job that notes what is done to it, and its ending."""

    def __init__(self, *, time_limit: timedelta | None = None, grace: timedelta = HOUR) -> None:
        super().__init__()
        self.done: list[str] = []
        self.resent = threading.Semaphore(0)
        self.may_record = threading.Event()
        self.may_record.set()
        limits = Limits(time_limit=time_limit, grace=grace)
        self.termination = Termination(
            RUN, self, Tree(self.done), limits, Recording(kill=self.record, overdue=self.note)
        )

    def interrupt(self, interrupt: JobInterrupt) -> None:
        self.done.append(type(interrupt).__name__)

    def resend(self) -> None:
        if self.done:
            self.resent.release()

    def record(self, interrupt: JobInterrupt) -> None:
        self.may_record.wait()
        self.done.append(f"recorded {type(interrupt).__name__}")

    def note(self, interrupt: JobInterrupt) -> None:
        self.done.append(f"overdue {type(interrupt).__name__}")

    def kill(self, pid: int, signum: int) -> None:
        if (pid, signum) == (os.getpid(), signal.SIGKILL):
            self.done.append("killed")

    def wait_until(self, *done: str) -> None:
        wait_until(lambda: self.done == list(done), what=f"{done}")
        self.termination.stop()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> type[Scene]:
    """Scenes in which no process is really killed."""

    class Harmless(Scene):
        def __init__(self, **limits: timedelta | None) -> None:
            super().__init__(**limits)  # type: ignore[arg-type]
            monkeypatch.setattr(os, "kill", self.kill)

    return Harmless


def cancelled() -> JobCancelled:
    return JobCancelled(Why.of(Reason.USER, user="ann"), run_id=RUN)


def test_an_interrupt_is_sent_again_until_the_job_ends(
    scene: type[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termination, "RESEND_SECONDS", 0.01)
    one = scene()
    one.termination.begin(cancelled())
    for _ in range(3):
        assert one.resent.acquire(timeout=30)
    one.termination.stop()
    assert one.done == ["JobCancelled", "tree asked to end"]


def test_a_job_is_interrupted_at_its_time_limit(scene: type[Scene]) -> None:
    it = scene(time_limit=NOW)
    it.termination.start()
    it.wait_until("JobTimedOut", "tree asked to end")


def test_without_a_time_limit_there_is_no_timer(scene: type[Scene]) -> None:
    it = scene()
    it.termination.start()
    assert it.termination._thread is None


def test_before_the_time_limit_nothing_happens(scene: type[Scene]) -> None:
    it = scene(time_limit=HOUR)
    it.termination.start()
    it.termination.stop()
    assert it.done == []


def test_the_end_of_a_job_that_does_not_stop_is_recorded_before_it_is_killed(scene: type[Scene]) -> None:
    it = scene(time_limit=NOW, grace=NOW)
    it.termination.start()
    it.wait_until("JobTimedOut", "tree asked to end", "recorded JobTimedOut", "tree killed", "killed")


def test_a_cancelled_job_has_the_same_grace_period(scene: type[Scene]) -> None:
    it = scene(time_limit=HOUR, grace=NOW)
    it.termination.start()
    it.termination.begin(cancelled())
    it.wait_until("JobCancelled", "tree asked to end", "recorded JobCancelled", "tree killed", "killed")


def test_recording_that_hangs_does_not_prevent_the_kill(
    scene: type[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(termination, "RECORD_KILL_SECONDS", 0.01)
    it = scene(time_limit=NOW, grace=NOW)
    it.may_record.clear()
    it.termination.start()
    wait_until(lambda: it.done == ["JobTimedOut", "tree asked to end", "tree killed", "killed"])
    it.may_record.set()
    it.wait_until("JobTimedOut", "tree asked to end", "tree killed", "killed", "recorded JobTimedOut")


def test_only_the_first_interrupt_counts(scene: type[Scene]) -> None:
    it = scene()
    it.termination.begin(cancelled())
    it.termination.begin(JobTimedOut(Why.of(Reason.TIME_LIMIT), run_id=RUN))
    it.termination.stop()
    assert it.done == ["JobCancelled", "tree asked to end"]


def test_a_job_that_has_finished_is_not_interrupted(scene: type[Scene]) -> None:
    it = scene()
    it.termination.stop()
    it.termination.begin(cancelled())
    assert it.done == []


def test_the_grace_period_can_be_ended_early(scene: type[Scene]) -> None:
    it = scene()
    it.termination.begin(cancelled())
    it.termination.end_grace()
    it.wait_until("JobCancelled", "tree asked to end", "recorded JobCancelled", "tree killed", "killed")


def test_without_an_interrupt_there_is_no_grace_period_to_end(scene: type[Scene]) -> None:
    it = scene(time_limit=HOUR)
    it.termination.start()
    it.termination.end_grace()
    it.termination.stop()
    assert it.done == []


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other jobs are executed in the same process."""
    monkeypatch.setattr(shared_process, "is_shared", lambda: True)
    monkeypatch.setattr(termination, "AGAIN_SECONDS", 0.01)


def test_a_job_in_a_shared_process_is_interrupted_again_and_again_and_nothing_is_killed_but_its_processes(
    scene: type[Scene], shared: None
) -> None:
    it = scene(time_limit=NOW, grace=NOW)
    it.termination.start()
    wait_until(lambda: it.done.count("JobTimedOut") >= 3, what="it is interrupted again")
    it.termination.stop()
    assert it.done[:4] == ["JobTimedOut", "tree asked to end", "tree killed", "overdue JobTimedOut"]
    assert it.done.count("overdue JobTimedOut") == 1
    assert not {"killed", "recorded JobTimedOut"} & set(it.done)
    assert it.termination.is_overdue


def test_its_end_is_recorded_if_the_worker_ends(scene: type[Scene], shared: None) -> None:
    it = scene(grace=NOW)
    it.termination.begin(cancelled())
    wait_until(lambda: it.termination.is_overdue, what="its grace period is over")
    it.termination.record_kill()
    it.termination.stop()
    assert "recorded JobCancelled" in it.done


def test_one_thread_is_the_timer_of_all_jobs_even_of_those_without_a_time_limit(
    scene: type[Scene], shared: None
) -> None:
    before = set(threading.enumerate())
    those = [scene(time_limit=HOUR), scene(), scene(time_limit=HOUR)]
    for each in those:
        each.termination.start()
    assert termination.TIMERS.members == [each.termination for each in those]
    assert len(set(threading.enumerate()) - before) <= 1
    for each in those:
        each.termination.stop()
        assert each.done == []
    assert termination.TIMERS.members == []


def test_a_job_that_ends_while_it_is_about_to_be_interrupted_is_forgotten(
    scene: type[Scene], shared: None
) -> None:
    it = scene(grace=NOW)
    it.termination.stop()
    # As if it had been added at the same time.
    termination.TIMERS.add(it.termination)
    wait_until(lambda: termination.TIMERS.members == [], what="it is removed")
    assert it.done == []
