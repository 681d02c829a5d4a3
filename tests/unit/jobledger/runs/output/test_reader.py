"""A worker's child keeps the thread that reads output, and no run gets anything of another one."""

import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from celery import current_app
from celery.signals import task_prerun

from jobledger.models import Run, Stream
from jobledger.runs.output import descriptors, reader
from jobledger.runs.output.capture import Capture, of_worker
from jobledger.runs.output.reader import Reader
from jobledger.runs.output.recorder import Piece
from tests.unit.jobledger.runs.output.outputs import finished, text_of
from tests.waiting import wait_until

STDOUT, STDERR = Stream.STDOUT, Stream.STDERR
LONG_SECONDS = 3600.0


@pytest.fixture(autouse=True)
def keeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process keeps its thread, as a worker's child does."""
    monkeypatch.setattr(reader, "_kept", reader._Kept())
    reader.keep()
    yield
    reader.end_kept()


@contextmanager
def capturing() -> Iterator[Capture]:
    with of_worker(Run()) as captured:
        yield captured


def thread_of(captured: Capture) -> int | None:
    """The kernel's id of the thread that reads what is captured."""
    found: int | None = cast("Any", captured)._descriptors._reader.thread.native_id
    return found


def kept() -> Reader:
    found = reader._kept.reader
    assert found is not None
    return found


def run_silently() -> int | None:
    with capturing() as captured:
        captured.end()
        return thread_of(captured)


def in_forked_process(work: Callable[[], bool]) -> bool:
    """What the function returns there."""
    if (pid := os.fork()) == 0:
        exit_code = 1
        try:
            exit_code = int(not work())
        finally:
            os._exit(exit_code)
    return os.waitpid(pid, 0)[1] == 0


class Source:
    """Something to be served whose epoll says nothing."""

    def __init__(self, returned: float = math.inf, served: Callable[[], object] | None = None) -> None:
        self._epoll, self._returned, self._served = select.epoll(), returned, served
        self.count = 0
        self.fileno = self._epoll.fileno

    def serve(self) -> float:
        if self._served is not None:
            self._served()
        self.count += 1
        return self._returned


def test_two_runs_have_the_same_thread() -> None:
    called = list[int]()
    for count in (1, 2):
        with capturing() as captured:
            captured.tick(lambda: called.append(threading.get_native_id()))
            wait_until(lambda count=count: len(called) == count, what="it is called")  # type: ignore[misc]
            captured.end()
    assert called == [kept().thread.native_id] * 2


def test_elsewhere_the_thread_ends_with_its_run() -> None:
    reader._kept.by = 0
    assert run_silently() not in {each.native_id for each in threading.enumerate()}


def test_a_short_silent_run_does_not_wake_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in reader, descriptors:
        monkeypatch.setattr(module, "TICK_SECONDS", LONG_SECONDS)
    run_silently()
    looked, look = threading.Event(), Reader._look
    soon = time.monotonic() + LONG_SECONDS / 2
    wait_until(lambda: kept()._look_at > soon, what="it has looked, and will again in an hour")

    def noted(reader: Reader) -> None:
        looked.set()
        look(reader)

    monkeypatch.setattr(Reader, "_look", noted)
    for _ in range(10):
        run_silently()
    assert not looked.is_set()


def test_a_run_that_begins_once_it_waits_without_a_limit_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "TICK_SECONDS", 0.01)
    run_silently()
    wait_until(lambda: kept()._look_at == math.inf, what="it waits without a limit")
    reader.release(reader.reading(source := Source()))
    reader.reading(source)
    wait_until(lambda: source.count > 0, what="it is served")


def test_a_run_need_not_wait_until_the_one_before_would_have_been_called_back() -> None:
    long, next_one = Source(returned=math.inf), Source()
    own = reader.reading(long)
    wait_until(lambda: long.count > 0, what="it is served")
    reader.release(own)
    reader.reading(next_one)
    wait_until(lambda: next_one.count > 0, what="it is served")


def test_the_end_of_a_run_waits_until_it_is_not_being_served() -> None:
    is_serving, may_end = threading.Event(), threading.Event()

    def serve() -> None:
        is_serving.set()
        may_end.wait()

    own = reader.reading(source := Source(served=serve))
    is_serving.wait()
    ending = threading.Thread(target=reader.release, args=[own])
    ending.start()
    ending.join(0.1)
    was_waiting = ending.is_alive()
    may_end.set()
    ending.join()
    assert (was_waiting, source.count) == (True, 1)


def test_what_it_learns_too_late_is_not_taken_for_output_of_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_silently()
    wait, is_woken, may_go_on = Reader._wait, threading.Event(), threading.Event()

    def wait_for_long(reader: Reader) -> None:
        wait(reader)
        is_woken.set()
        may_go_on.wait()

    monkeypatch.setattr(Reader, "_wait", wait_for_long)
    with capturing() as first:
        os.write(1, b"first\n")
        is_woken.wait()
        first.end()
        found = finished(first.recorder)
    with capturing() as second:
        # As if it had learnt of stdout of the second run.
        os.write(2, b"second, stderr\n")
        os.write(1, b"second, stdout\n")
        may_go_on.set()
        ready = cast("Any", second)._descriptors._ready
        wait_until(lambda: not ready.poll(0), what="it has read")
        second.end()
        found += finished(second.recorder)
    assert found == [
        Piece(stream=STDOUT, text="first\n"),
        Piece(stream=STDERR, text="second, stderr\n"),
        Piece(stream=STDOUT, text="second, stdout\n"),
    ]


def test_a_thread_that_has_died_is_replaced() -> None:
    kept_before = run_silently()
    kept().end()
    assert run_silently() not in (kept_before, None)


def test_a_process_that_the_job_forks_has_a_thread_of_its_own() -> None:
    run_silently()

    def work() -> bool:
        with capturing() as captured:
            os.write(1, b"forked")
            captured.end()
            text = text_of(finished(captured.recorder))
        return text == "forked" and threading.active_count() == 1

    assert in_forked_process(work)


def test_a_run_after_one_that_has_closed_all_descriptors_is_recorded() -> None:
    def work() -> bool:
        reader.keep()
        with capturing() as first:
            os.closerange(3, 900)
            reused = [os.open("/proc/self/status", os.O_RDONLY) for _ in range(50)]
            first.end()
            with capturing() as second:
                os.write(1, b"second")
                second.end()
                text = text_of(finished(second.recorder))
            # Not later: Python has copies of the descriptor of the first run's memory, and closes them.
            is_intact = all(os.read(descriptor, 4) == b"Name" for descriptor in reused)
            os._exit(0 if is_intact and text == "second" and thread_of(first) != thread_of(second) else 1)

    assert in_forked_process(work)


def test_a_run_after_one_that_has_closed_its_pipes_is_recorded() -> None:
    def work() -> bool:
        reader.keep()
        with capturing() as first:
            for pipe in cast("Any", first)._descriptors.pipes.values():
                os.close(pipe)
            first.end()
        with capturing() as second:
            os.write(1, b"second")
            second.end()
            text = text_of(finished(second.recorder))
        others = [each for each in threading.enumerate() if each is not threading.main_thread()]
        return text == "second" and [each.native_id for each in others] == [thread_of(second)]

    assert in_forked_process(work)


def test_a_source_that_cannot_be_watched_leaves_the_thread_as_it_was(tmp_path: Path) -> None:
    before, source = run_silently(), Source()
    with (tmp_path / "file").open("w") as file:
        source.fileno = file.fileno
        with pytest.raises(PermissionError):
            reader.reading(source)
    assert run_silently() == before


def begin_task(name: str) -> None:
    current_app.loader.import_default_modules()
    reader.connect()
    task_prerun.send(sender=current_app.tasks[name], task_id="1", task=current_app.tasks[name])


@pytest.mark.parametrize(("name", "is_kept"), [("probes.probe", True), ("tests.probes.tasks.add", False)])
def test_a_task_that_is_no_job_finds_no_thread(name: str, *, is_kept: bool) -> None:
    before = run_silently()
    begin_task(name)
    assert (before in {each.native_id for each in threading.enumerate()}) is is_kept


def test_a_task_that_a_job_executes_itself_leaves_the_thread_alone() -> None:
    with capturing() as captured:
        begin_task("tests.probes.tasks.add")
        assert kept().thread.is_alive()
        captured.end()
