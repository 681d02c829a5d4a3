"""The output of a run whose process was killed is not lost."""

import os
import signal
from collections.abc import Callable, Iterator
from mmap import mmap
from uuid import uuid4

import psutil
import pytest

from jobledger.models import Stream
from jobledger.runs.output.recorder import OutputRecorder, Piece, memory_bytes
from jobledger.runs.output.salvage import Mailboxes
from tests.unit.jobledger.runs.output.outputs import finished, text_of

LIMIT_BYTES = 1000


class Child:
    """A forked process that keeps the output of a run in its mailbox, and is killed when it has worked."""

    def __init__(self, mailboxes: Mailboxes, work: Callable[["Child"], None]) -> None:
        self.mailboxes = mailboxes
        self.run_id = uuid4()
        self.pid = os.fork()
        if self.pid == 0:
            mailboxes.open_own()
            self._begin()
            work(self)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _begin(self) -> None:
        size = memory_bytes(LIMIT_BYTES)
        memory = os.memfd_create("")
        os.ftruncate(memory, size)
        self.recorder = OutputRecorder(LIMIT_BYTES, mmap(memory, size))
        pipes = [os.pipe(), os.pipe()]
        self.pipes = [writing for _, writing in pipes]
        for reading, _ in pipes:
            os.set_blocking(reading, False)
        self.mailboxes.keep(self.run_id, [memory, *(reading for reading, _ in pipes)])


@pytest.fixture
def mailboxes() -> Iterator[Mailboxes]:
    made = Mailboxes()
    made.open_reception()
    yield made
    for each in [*made._doors, *(made._reception or ())]:
        each.close()


def test_what_was_not_saved_and_what_was_not_read_is_salvaged(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "saved\n")
        child.recorder.mark_saved(child.recorder.unsaved())
        child.recorder.write(Stream.STDERR, "not saved\n")
        os.write(child.pipes[0], b"not read\n")
        os.write(child.pipes[1], b"not read either\n")

    child = Child(mailboxes, work)
    recorder = mailboxes.salvaged(child.run_id)
    assert recorder is not None
    assert recorder.next_number == 1
    assert finished(recorder) == [
        Piece(stream=Stream.STDERR, text="not saved\n"),
        Piece(stream=Stream.STDOUT, text="not read\n"),
        Piece(stream=Stream.STDERR, text="not read either\n"),
    ]
    assert mailboxes.salvaged(child.run_id) is None


def test_pieces_that_may_have_been_saved_are_the_same_again(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "perhaps saved\n")
        child.recorder.unsaved()
        child.recorder.write(Stream.STDOUT, "not saved\n")

    recorder = mailboxes.salvaged(Child(mailboxes, work).run_id)
    assert recorder is not None
    assert [piece.text for piece in finished(recorder)] == ["perhaps saved\n", "not saved\n"]


def test_of_much_output_the_tail_is_salvaged(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        for number in range(10_000):
            child.recorder.write(Stream.STDOUT, f"line {number:04}\n")

    recorder = mailboxes.salvaged(Child(mailboxes, work).run_id)
    assert recorder is not None
    text = text_of(finished(recorder))
    assert text.startswith("line 0000\n")
    assert "[… 99,000 bytes omitted …]" in text
    assert text.endswith("line 9998\nline 9999\n")


def test_output_that_was_saved_is_not_salvaged(mailboxes: Mailboxes) -> None:
    child = Child(mailboxes, lambda child: child.mailboxes.release())
    assert mailboxes.salvaged(child.run_id) is None


def test_a_process_forked_by_the_job_releases_nothing(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "of the job\n")
        if os.fork() == 0:
            child.mailboxes.release()
            os._exit(0)
        os.wait()

    recorder = mailboxes.salvaged(Child(mailboxes, work).run_id)
    assert recorder is not None
    assert text_of(finished(recorder)) == "of the job\n"


def test_the_output_of_another_child_is_left_alone(mailboxes: Mailboxes) -> None:
    first, second = (
        Child(mailboxes, lambda child: child.recorder.write(Stream.STDOUT, f"{child.run_id}"))
        for _ in range(2)
    )
    for child in second, first:
        recorder = mailboxes.salvaged(child.run_id)
        assert recorder is not None
        assert text_of(finished(recorder)) == str(child.run_id)


def test_children_that_have_ended_cost_the_main_process_nothing(mailboxes: Mailboxes) -> None:
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(5):
        Child(mailboxes, lambda child: child.mailboxes.release())
        mailboxes.receive_doors()
    assert process.num_fds() <= before + 1


def test_outside_a_worker_nothing_is_kept() -> None:
    mailboxes = Mailboxes()
    mailboxes.keep(uuid4(), [1])
    mailboxes.release()
    assert mailboxes.salvaged(uuid4()) is None


def test_a_child_salvages_the_output_of_a_process_that_it_started_for_its_run() -> None:
    """The process has the child's mailbox, whose other end only the child can empty."""
    child, started = Mailboxes(), Mailboxes()
    child.open_own()
    started.adopt([os.dup(descriptor) for descriptor in child.own_descriptors()])
    run_id, size = uuid4(), memory_bytes(LIMIT_BYTES)
    memory = os.memfd_create("")
    os.ftruncate(memory, size)
    OutputRecorder(LIMIT_BYTES, mmap(memory, size)).write(Stream.STDOUT, "of the process\n")
    started.keep(run_id, [memory])
    os.close(memory)
    assert child.salvaged(uuid4()) is None
    recorder = child.salvaged(run_id)
    assert recorder is not None
    assert text_of(finished(recorder)) == "of the process\n"
    for each in [*(child._own or ()), *(started._own or ())]:
        each.close()
