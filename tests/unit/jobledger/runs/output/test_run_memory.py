"""What one process cannot read, another one reads instead, in order, without a lock."""

import os
from collections.abc import Iterator

import pytest

from jobledger.models import Stream
from jobledger.runs.output.run_memory import RunMemory, as_text
from jobledger.runs.processes.resources import Usage


@pytest.fixture
def own() -> Iterator[RunMemory]:
    """As the run's own process has it."""
    memory = RunMemory.create(1000)
    yield memory
    memory.close()


@pytest.fixture
def other(own: RunMemory) -> RunMemory:
    """As another process has it."""
    return RunMemory(own.descriptor)


def read_by(other: RunMemory, data: bytes) -> None:
    assert other.begin_to_read(other.reads)
    other.spool().write_utf8(Stream.STDERR, as_text(data).encode())
    other.end_to_read()


def test_what_another_process_has_read_is_taken_in_once(own: RunMemory, other: RunMemory) -> None:
    data = bytes(range(256))
    read_by(other, data[:100])
    read_by(other, data[100:])
    assert own.spooled() == [(Stream.STDERR, data)]
    own.empty_spool()
    assert not own.is_spooled


def test_another_process_stops_as_soon_as_the_runs_own_one_reads(own: RunMemory, other: RunMemory) -> None:
    reads = other.reads
    own.take_turn()
    assert not other.begin_to_read(reads)


def test_a_process_that_is_suspended_while_it_reads_does_not_stop_the_run(
    own: RunMemory, other: RunMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobledger.runs.output.run_memory.MAX_WAIT_SECONDS", 0)
    other.begin_to_read(other.reads)
    own.take_turn()
    assert own.reads == 1


def test_what_is_read_while_a_spool_is_taken_in_comes_after_it(own: RunMemory, other: RunMemory) -> None:
    read_by(other, b"first")
    found = own.spooled()
    read_by(other, b"second")
    assert own.spooled() == found
    assert [data for _, data in other.all_spooled()] == [b"first", b"second"]
    own.empty_spool()
    found += own.spooled()
    own.empty_spool()
    assert [data for _, data in found] == [b"first", b"second"]
    assert not own.is_spooled


def test_a_job_may_close_all_descriptors(own: RunMemory, other: RunMemory) -> None:
    read_by(other, b"read before")
    os.close(own.descriptor)
    own.usage = Usage(peak_memory_bytes=1, cpu_seconds=1)
    assert own.spooled() == [(Stream.STDERR, b"read before")]


def test_nothing_is_taken_in_if_nothing_was_read(own: RunMemory) -> None:
    assert (own.is_spooled, own.all_spooled(), own.usage) == (False, [], None)
