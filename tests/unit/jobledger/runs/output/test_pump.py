"""C code that keeps the interpreter's lock may write any amount: another process reads it meanwhile."""

import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import UUID, uuid4

import pytest

from jobledger.conf import settings
from jobledger.models import Run, Stream
from jobledger.runs.output import salvage
from jobledger.runs.output.capture import of_worker
from jobledger.runs.output.pump import Pump
from jobledger.runs.output.recorder import OutputRecorder, Piece
from jobledger.runs.output.run_memory import RunMemory
from jobledger.runs.output.salvage import Mailboxes
from tests.unit.jobledger.runs.output.outputs import finished, text_of
from tests.waiting import wait_until

STDOUT, STDERR = Stream.STDOUT, Stream.STDERR
LINE = "line äöü\n".encode()
MUCH = LINE * 30_000


def write_keeping_the_lock(descriptor: int, data: bytes) -> None:
    written = ctypes.PyDLL(None).write(descriptor, data, len(data))
    assert written == len(data)


@pytest.fixture
def mailboxes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailboxes]:
    made = Mailboxes()
    made.open_reception()
    for name in ("keep", "release"):
        monkeypatch.setattr(salvage, name, getattr(made, name))
    yield made
    for each in [*made._doors, *(made._reception or ())]:
        each.close()


def executed(mailboxes: Mailboxes, job: Callable[[], object], run_id: UUID, expected: list[Piece]) -> int:
    """Execute the job in a child, in which its output must be as expected; returns how the child ended."""
    if (pid := os.fork()) == 0:
        mailboxes.open_own()
        with of_worker(Run(pk=run_id)) as captured:
            job()
            captured.end()
            found = finished(captured.recorder)
            os._exit(0 if joined(found) == joined(expected) else 1)
    status: list[int] = []

    def has_ended() -> bool:
        mailboxes.relieve()
        ended, found = os.waitpid(pid, os.WNOHANG)
        status.append(found)
        return ended == pid

    try:
        wait_until(has_ended, what="the child has ended")
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return status[-1]


def joined(pieces: list[Piece]) -> list[Piece]:
    """Without divisions of the text that depend on when it was read."""
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].stream is piece.stream:
            found[-1] = Piece(stream=piece.stream, text=found[-1].text + piece.text)
        else:
            found.append(piece)
    return found


def test_it_does_not_wait_forever_and_all_is_recorded_in_order(mailboxes: Mailboxes) -> None:
    def job() -> None:
        print("before")
        write_keeping_the_lock(1, MUCH)
        print("between")
        write_keeping_the_lock(2, MUCH)
        print("after")

    expected = [
        Piece(stream=STDOUT, text=f"before\n{MUCH.decode()}between\n"),
        Piece(stream=STDERR, text=MUCH.decode()),
        Piece(stream=STDOUT, text="after\n"),
    ]
    assert executed(mailboxes, job, uuid4(), expected) == 0


def test_the_limit_of_the_output_applies(mailboxes: Mailboxes) -> None:
    size = 5 * settings.RUN_OUTPUT_LIMIT_BYTES

    def job() -> None:
        write_keeping_the_lock(1, b"x" * size + b"end\n")
        os.kill(os.getpid(), signal.SIGKILL)

    run_id = uuid4()
    assert os.WTERMSIG(executed(mailboxes, job, run_id, [])) == signal.SIGKILL
    found = mailboxes.salvaged(run_id)
    assert found is not None
    text = text_of(finished(found.recorder))
    assert len(text) < 1.1 * settings.RUN_OUTPUT_LIMIT_BYTES
    assert "bytes omitted" in text
    assert text.endswith("xend\n")


def test_what_was_read_for_a_process_that_died_is_salvaged(mailboxes: Mailboxes) -> None:
    def job() -> None:
        write_keeping_the_lock(1, MUCH)
        os.kill(os.getpid(), signal.SIGKILL)

    run_id = uuid4()
    assert os.WTERMSIG(executed(mailboxes, job, run_id, [])) == signal.SIGKILL
    found = mailboxes.salvaged(run_id)
    assert found is not None
    assert text_of(finished(found.recorder)) == MUCH.decode()


def test_the_order_remains_while_both_read(mailboxes: Mailboxes) -> None:
    """Looks that follow each other so quickly also find processes that are not stuck."""
    lines = [f"line {number}\n" * 10 for number in range(9000)]

    def job() -> None:
        for line in lines:
            write_keeping_the_lock(1, line.encode())

    expected = [Piece(stream=STDOUT, text="".join(lines))]
    assert executed(mailboxes, job, uuid4(), expected) == 0


def test_a_pump_ends_once_the_process_reads_again(mailboxes: Mailboxes) -> None:
    expected = [Piece(stream=STDOUT, text=MUCH.decode())]
    assert executed(mailboxes, lambda: write_keeping_the_lock(1, MUCH), uuid4(), expected) == 0
    pumps = list(mailboxes._pumps.values())
    wait_until(lambda: not any(pump.is_working for pump in pumps), what="no pump works")


@pytest.fixture
def memory() -> Iterator[RunMemory]:
    made = RunMemory.create(1000)
    OutputRecorder(1000, made.output()).publish()
    yield made
    made.close()


def pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, writing


def test_a_pump_ends_once_all_writers_have_ended(memory: RunMemory) -> None:
    reading, writing = pipe()
    pump = Pump(os.dup(memory.descriptor), [reading])
    pump.start()
    os.write(writing, b"written\n")
    os.close(writing)
    wait_until(lambda: not pump.is_working, what="the pump has ended")
    assert memory.all_spooled() == [(STDOUT, b"written\n")]


def test_a_pump_ends_if_another_process_salvages_the_output(memory: RunMemory) -> None:
    """As that of an isolated run does, while what the job has left behind keeps the pipe open."""
    (reading, writing), run_id = pipe(), uuid4()
    pump = Pump(os.dup(memory.descriptor), [os.dup(reading)])
    pump.start()
    other = Mailboxes()
    other.open_own()
    other.keep(run_id, [memory.descriptor, reading])
    os.write(writing, b"written\n")
    found = other.salvaged(run_id)
    assert found is not None
    assert text_of(finished(found.recorder)) == "written\n"
    wait_until(lambda: not pump.is_working, what="the pump has ended")
    for each in (reading, writing):
        os.close(each)
    for end in other._own or ():
        end.close()
