"""A job is told to end when its time is over or somebody wants it to, and killed after its grace."""

import os
import signal
import threading
from datetime import timedelta
from uuid import uuid4

import pytest

from jobledger.models import Reason, Why
from jobledger.runs.lease import ending
from jobledger.runs.lease.ending import Ending, Limits
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt, JobTimedOut
from tests.waiting import wait_until

RUN = uuid4()
NOW = timedelta(0)
HOUR = timedelta(hours=1)


class Scene(Interrupter):
    """A job that notes what is done to it, and its ending."""

    def __init__(self, *, time_limit: timedelta | None = None, grace: timedelta = HOUR) -> None:
        super().__init__()
        self.done: list[str] = []
        self.reminded = threading.Semaphore(0)
        self.words = threading.Event()
        self.words.set()
        self.ending = Ending(RUN, self, Limits(time_limit=time_limit, grace=grace), self.say)

    def interrupt(self, interrupt: JobInterrupt) -> None:
        self.done.append(type(interrupt).__name__)

    def remind(self) -> None:
        if self.done:
            self.reminded.release()

    def say(self, interrupt: JobInterrupt) -> None:
        self.words.wait()
        self.done.append(f"recorded {type(interrupt).__name__}")

    def kill(self, pid: int, signum: int) -> None:
        if (pid, signum) == (os.getpid(), signal.SIGKILL):
            self.done.append("killed")

    def wait_until(self, *done: str) -> None:
        wait_until(lambda: self.done == list(done), what=f"{done}")
        self.ending.stop()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> type[Scene]:
    """Scenes whose kill kills nobody."""

    class Harmless(Scene):
        def __init__(self, **limits: timedelta | None) -> None:
            super().__init__(**limits)  # type: ignore[arg-type]
            monkeypatch.setattr(os, "kill", self.kill)

    return Harmless


def cancelled() -> JobCancelled:
    return JobCancelled(Why.of(Reason.USER, user="ann"), run_id=RUN)


def test_a_job_is_reminded_until_it_ends(scene: type[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "REMIND_EVERY_SECONDS", 0.01)
    one = scene()
    one.ending.begin(cancelled())
    for _ in range(3):
        assert one.reminded.acquire(timeout=30)
    one.ending.stop()
    assert one.done == ["JobCancelled"]


def test_the_time_limit_ends_the_job_softly(scene: type[Scene]) -> None:
    it = scene(time_limit=NOW)
    it.ending.start()
    it.wait_until("JobTimedOut")


def test_without_a_time_limit_nobody_keeps_the_time(scene: type[Scene]) -> None:
    it = scene()
    it.ending.start()
    assert it.ending._thread is None


def test_before_the_time_limit_nothing_happens(scene: type[Scene]) -> None:
    it = scene(time_limit=HOUR)
    it.ending.start()
    it.ending.stop()
    assert it.done == []


def test_a_job_that_does_not_end_is_recorded_and_then_killed(scene: type[Scene]) -> None:
    it = scene(time_limit=NOW, grace=NOW)
    it.ending.start()
    it.wait_until("JobTimedOut", "recorded JobTimedOut", "killed")


def test_a_cancelled_job_has_the_same_grace(scene: type[Scene]) -> None:
    it = scene(time_limit=HOUR, grace=NOW)
    it.ending.start()
    it.ending.begin(cancelled())
    it.wait_until("JobCancelled", "recorded JobCancelled", "killed")


def test_a_record_that_hangs_does_not_keep_the_process_from_being_killed(
    scene: type[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "LAST_WORDS_SECONDS", 0.01)
    it = scene(time_limit=NOW, grace=NOW)
    it.words.clear()
    it.ending.start()
    wait_until(lambda: it.done == ["JobTimedOut", "killed"])
    it.words.set()
    it.wait_until("JobTimedOut", "killed", "recorded JobTimedOut")


def test_only_the_first_reason_to_end_counts(scene: type[Scene]) -> None:
    it = scene()
    it.ending.begin(cancelled())
    it.ending.begin(JobTimedOut(Why.of(Reason.TIME_LIMIT), run_id=RUN))
    it.ending.stop()
    assert it.done == ["JobCancelled"]


def test_a_job_that_is_over_is_left_alone(scene: type[Scene]) -> None:
    it = scene()
    it.ending.stop()
    it.ending.begin(cancelled())
    assert it.done == []
