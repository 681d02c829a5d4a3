"""A worker's child tells the main process that a job is over and only the record of its run is left."""

import os
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest

from jobledger.runs.processes import announcements


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a worker's."""
    monkeypatch.setattr(announcements, "_pipes", [])
    announcements._begin()
    yield
    (pipe,) = announcements._pipes
    for end in pipe.reading, pipe.writing:
        os.close(end)


def in_child(work: Callable[[], object]) -> None:
    if (pid := os.fork()) == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


def announce_all(runs: list[tuple[UUID, int]]) -> None:
    for run_id, attempt in runs:
        announcements.announce(run_id, attempt)


def test_what_children_have_announced_is_received_once_and_in_order() -> None:
    runs = [(uuid4(), attempt) for attempt in (1, 2, 100_000)]
    in_child(lambda: announce_all(runs[:2]))
    in_child(lambda: announce_all(runs[2:]))
    assert announcements.received() == runs
    assert announcements.received() == []


def test_nobody_waits_for_a_main_process_that_does_not_receive() -> None:
    in_child(lambda: announce_all([(uuid4(), 1) for _ in range(10_000)]))
    count = 0
    while found := announcements.received():
        count += len(found)
    assert 0 < count < 10_000


def test_a_process_that_is_not_a_child_announces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    announcements.announce(uuid4(), 1)
    assert announcements.received() == []
    with monkeypatch.context() as patched:
        patched.setattr(announcements, "_pipes", [])
        announcements.announce(uuid4(), 1)
        assert announcements.descriptor() is None


def test_what_a_job_has_opened_in_place_of_the_pipe_is_not_written_to() -> None:
    reading, writing = os.pipe()

    def replace_and_announce() -> None:
        os.dup2(writing, announcements._pipes[0].writing)
        announcements.announce(uuid4(), 1)

    in_child(replace_and_announce)
    os.set_blocking(reading, False)
    with pytest.raises(BlockingIOError):
        os.read(reading, 1)
    for end in reading, writing:
        os.close(end)


def test_a_job_that_has_closed_the_pipe_does_no_harm() -> None:
    def close_and_announce() -> None:
        os.close(announcements._pipes[0].writing)
        announcements.announce(uuid4(), 1)

    in_child(close_and_announce)
    assert announcements.received() == []
