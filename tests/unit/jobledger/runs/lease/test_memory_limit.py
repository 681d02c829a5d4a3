"""A job that exceeds its memory limit is interrupted; one that uses twice as much is killed."""

import threading
from datetime import timedelta
from uuid import uuid4

import pytest

from jobledger.formats import MEGABYTE
from jobledger.models import Status
from jobledger.runs.lease import memory_limit
from jobledger.runs.lease.interrupts import Interrupter, JobInterrupt
from jobledger.runs.lease.memory_limit import MemoryLimitExceeded, MemoryWatch
from jobledger.runs.lease.termination import Recording, Termination
from jobledger.runs.limits import Limits
from jobledger.runs.processes import resources
from jobledger.runs.processes.process_tree import ProcessTree
from tests.waiting import wait_until

RUN = uuid4()
LIMIT = 100 * MEGABYTE


class Scene(Termination):
    """A job of which it is noted what is done to it."""

    def __init__(self) -> None:
        limits = Limits(time_limit=None, grace=timedelta(hours=1), memory_bytes=LIMIT)
        tree = ProcessTree(RUN, is_nested=False)
        super().__init__(RUN, Interrupter(), tree, limits, Recording(kill=print, overdue=print))
        self.interrupts: list[JobInterrupt] = []
        self.is_killed = threading.Event()
        self.meter = resources.Meter()
        self.watch = MemoryWatch(RUN, LIMIT, self, self.meter)

    def begin(self, interrupt: JobInterrupt) -> None:
        self.interrupts.append(interrupt)

    def end_grace(self) -> None:
        self.is_killed.set()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A process that uses 50 MB when the run starts."""
    monkeypatch.setattr(memory_limit, "SAMPLE_SECONDS", 3600)
    use(50, monkeypatch)
    scene = Scene()
    scene.watch.start()
    return scene


def use(megabytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory_in_use", lambda: megabytes * MEGABYTE)


def test_memory_that_the_process_used_before_the_run_does_not_count(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(150, monkeypatch)
    scene.watch.look()
    scene.watch.stop()
    assert scene.interrupts == []


def test_a_job_that_exceeds_its_limit_is_interrupted(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    use(151, monkeypatch)
    scene.watch.look()
    scene.watch.stop()
    (interrupt,) = scene.interrupts
    assert isinstance(interrupt, MemoryLimitExceeded)
    assert (interrupt.status, interrupt.exit_code, interrupt.run_id) == (Status.FAILED, 137, RUN)
    assert str(interrupt) == "The run exceeded its memory limit of 100 MB and used 101 MB."
    assert not scene.is_killed.is_set()


def test_what_exceeds_the_limit_counts_for_the_peak(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    use(100_000, monkeypatch)
    scene.watch.look()
    scene.watch.stop()
    assert scene.meter.usage().peak_memory_bytes == 100_000 * MEGABYTE


def test_a_job_that_uses_twice_its_limit_is_killed_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(251, monkeypatch)
    scene.watch.look()
    scene.watch.stop()
    assert scene.interrupts
    assert scene.is_killed.is_set()


def test_samples_are_taken_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    scene.watch.start()
    kept = b"x" * (LIMIT + 20 * MEGABYTE)
    wait_until(lambda: scene.interrupts, what="it is interrupted")
    scene.watch.stop()
    assert not scene.watch._thread.is_alive()
    assert kept
