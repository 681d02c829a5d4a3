"""A process that exits is restarted, unless it has only just been started.

These tests also fail if honcho changes the private attributes that the supervisor uses.
"""

import multiprocessing
import os
import queue
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from proj import supervisor
from proj.supervisor import RestartingProcess, supervise


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_DELAY_SECONDS", 0)


class Child:
    """A command that has exited; after this many, the service is stopped."""

    def __init__(self, stopping: Any, starts: list[str], stop_after: int) -> None:
        self.pid, self.returncode, self.stdout = 7, 1, self
        self.terminated = False
        starts.append("start")
        if len(starts) == stop_after:
            stopping.set()

    def readline(self) -> bytes:
        return b""

    def close(self) -> None: ...

    def wait(self) -> None: ...

    def terminate(self) -> None:
        self.terminated = True


def run(stop_after: int) -> tuple[int, list[str], Child]:
    """How often it was started, the messages to the manager, and the last child."""
    stopping, events = multiprocessing.Event(), queue.Queue[Any]()
    starts: list[str] = []
    process = RestartingProcess("command", name="worker", stopping=stopping)
    process._child_ctor = lambda *args, **kwargs: Child(stopping, starts, stop_after)
    process.run(events)
    return len(starts), [events.get().type for _ in range(events.qsize())], process._child


def test_a_process_that_exits_is_restarted_until_the_service_stops(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "MIN_UPTIME_SECONDS", 0)
    starts, heard, child = run(stop_after=3)
    assert starts == 3
    assert heard == ["start", "line", "start", "line", "start", "stop"]
    assert child.terminated  # it was started when the service was already stopping


def test_a_process_that_exits_immediately_stops_the_service() -> None:
    starts, heard, _ = run(stop_after=3)
    assert (starts, heard) == (1, ["start", "stop"])


@pytest.mark.parametrize(
    ("name", "waits"), [("worker", True), ("beat", True), ("web", False), ("redis", False)]
)
def test_the_worker_and_beat_start_once_redis_answers(
    name: str, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = iter([False, False, True])
    monkeypatch.setattr(supervisor, "answers", lambda socket: next(answered))
    monkeypatch.setattr(supervisor, "REDIS_POLL_SECONDS", 0)
    stopping, starts = multiprocessing.Event(), list[str]()
    process = RestartingProcess("command", name=name, stopping=stopping, redis=Path("redis.sock"))
    process._child_ctor = lambda *args, **kwargs: Child(stopping, starts, 1)
    process.run(queue.Queue[Any]())
    assert starts == ["start"]
    assert list(answered) == ([] if waits else [False, False, True])


@pytest.mark.parametrize("ends", ["the wait is too long", "the service stops"])
def test_a_redis_that_never_answers_is_not_waited_for_forever(
    ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "answers", lambda socket: False)
    monkeypatch.setattr(supervisor, "MAX_REDIS_WAIT_SECONDS", 0 if ends == "the wait is too long" else 60)
    stopping, starts = multiprocessing.Event(), list[str]()
    if ends == "the service stops":
        stopping.set()
    process = RestartingProcess("command", name="worker", stopping=stopping, redis=Path("redis.sock"))
    process._child_ctor = lambda *args, **kwargs: Child(stopping, starts, 1)
    process.run(queue.Queue[Any]())
    assert starts == ["start"]


def test_only_an_embedded_redis_is_waited_for() -> None:
    for embedded in True, False:
        process = supervise({}, embedded_redis=embedded)._processes["worker"]["obj"]
        assert (process._redis is not None) == embedded


def test_every_process_of_the_procfile_is_restarted() -> None:
    processes = supervise({}, embedded_redis=True)._processes
    assert set(processes) == {"redis", "web", "worker", "beat"}
    assert {type(process["obj"]) for process in processes.values()} == {RestartingProcess}


def test_the_embedded_server_is_left_out_if_there_is_another_redis() -> None:
    assert set(supervise({}, embedded_redis=False)._processes) == {"web", "worker", "beat"}


def test_processes_are_asked_to_stop_and_not_their_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *values: asked.append(values))
    monkeypatch.setattr(signal, "signal", lambda *values: None)
    made = supervise({}, embedded_redis=False)
    # As recorded by honcho.
    made._processes["web"]["pid"] = 1
    made._processes["worker"].update(pid=2, returncode=0)
    made.terminate()
    made.terminate()
    assert asked == [(1, signal.SIGTERM)]


def test_the_web_server_is_the_same_as_in_the_image() -> None:
    root = Path(__file__).parents[3]
    procfile = (root / "Procfile").read_text()
    image = (root / "Dockerfile").read_text().replace('", "', " ")
    figures = [
        re.search(r"--worker-class \S+ --workers \d+ --threads \d+", text) for text in (procfile, image)
    ]
    assert all(figures)
    assert len({figure[0] for figure in figures if figure}) == 1
