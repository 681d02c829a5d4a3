"""The output of a run whose process was killed is not lost."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psutil
import pytest

from jobledger.models import Stream
from jobledger.runs.output.recorder import OutputRecorder, Piece
from jobledger.runs.output.run_memory import RunMemory
from jobledger.runs.output.salvage import Mailboxes
from jobledger.runs.processes.resources import Usage
from tests.unit.jobledger.runs.output.outputs import finished, text_of

LIMIT_BYTES = 1000


class Child:
    """A forked process that keeps the output of a run in its mailbox, and is killed when it has worked."""

    def __init__(self, mailboxes: Mailboxes, work: Callable[["Child"], object]) -> None:
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
        self.memory = RunMemory.create(LIMIT_BYTES)
        self.recorder = OutputRecorder(LIMIT_BYTES, self.memory.output())
        self.recorder.publish()
        pipes = [os.pipe(), os.pipe()]
        self.pipes = [writing for _, writing in pipes]
        for reading, _ in pipes:
            os.set_blocking(reading, False)
        self.mailboxes.keep(self.run_id, [self.memory.descriptor, *(reading for reading, _ in pipes)])


@pytest.fixture
def mailboxes() -> Iterator[Mailboxes]:
    made = Mailboxes()
    made.open_reception()
    yield made
    for each in [*made._doors, *(made._reception or ())]:
        each.close()


def salvaged_from(mailboxes: Mailboxes, run_id: UUID) -> list[Piece]:
    salvaged = mailboxes.salvaged(run_id)
    assert salvaged is not None
    return finished(salvaged.recorder)


def test_what_was_not_saved_and_what_was_not_read_is_salvaged(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "saved\n")
        child.recorder.mark_saved(child.recorder.unsaved())
        child.recorder.write(Stream.STDERR, "not saved\n")
        os.write(child.pipes[0], b"not read\n")
        os.write(child.pipes[1], b"not read either\n")

    child = Child(mailboxes, work)
    salvaged = mailboxes.salvaged(child.run_id)
    assert salvaged is not None
    assert salvaged.recorder.next_number == 1
    assert finished(salvaged.recorder) == [
        Piece(stream=Stream.STDERR, text="not saved\n"),
        Piece(stream=Stream.STDOUT, text="not read\n"),
        Piece(stream=Stream.STDERR, text="not read either\n"),
    ]
    assert mailboxes.salvaged(child.run_id) is None


def test_what_a_process_has_written_before_its_death_is_salvaged_even_if_nothing_was_recorded(
    mailboxes: Mailboxes,
) -> None:
    child = Child(mailboxes, lambda child: os.write(child.pipes[0], b"not read\n"))
    assert text_of(salvaged_from(mailboxes, child.run_id)) == "not read\n"


@pytest.mark.parametrize(
    "usage", [None, Usage(peak_memory_bytes=5, cpu_seconds=0.5), Usage(peak_memory_bytes=None, cpu_seconds=2)]
)
def test_what_the_run_had_used_is_known(mailboxes: Mailboxes, usage: Usage | None) -> None:
    def work(child: Child) -> None:
        if usage:
            child.memory.usage = usage

    salvaged = mailboxes.salvaged(Child(mailboxes, work).run_id)
    assert salvaged is not None
    assert salvaged.usage == usage


def test_it_is_known_whether_the_process_died_in_the_jobs_own_code(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.memory.is_job_running = True

    in_job, elsewhere = (
        mailboxes.salvaged(Child(mailboxes, each).run_id) for each in (work, lambda child: 0)
    )
    assert in_job is not None
    assert elsewhere is not None
    assert (in_job.was_job_running, elsewhere.was_job_running) == (True, False)


def test_pieces_that_may_have_been_saved_are_the_same_again(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "perhaps saved\n")
        child.recorder.unsaved()
        child.recorder.write(Stream.STDOUT, "not saved\n")

    pieces = salvaged_from(mailboxes, Child(mailboxes, work).run_id)
    assert [piece.text for piece in pieces] == ["perhaps saved\n", "not saved\n"]


def test_of_much_output_the_tail_is_salvaged(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        for number in range(10_000):
            child.recorder.write(Stream.STDOUT, f"line {number:04}\n")

    pieces = salvaged_from(mailboxes, Child(mailboxes, work).run_id)
    text = text_of(pieces)
    assert text.startswith("line 0000\n")
    assert "[… 99,000 bytes omitted …]" in text
    assert text.endswith("line 9998\nline 9999\n")


def test_output_that_was_saved_is_not_salvaged(mailboxes: Mailboxes) -> None:
    child = Child(mailboxes, lambda child: child.mailboxes.release())
    assert mailboxes.salvaged(child.run_id) is None


def test_a_process_forked_by_the_job_releases_nothing(mailboxes: Mailboxes) -> None:
    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "of the job\n")
        pid = os.fork()
        if pid == 0:
            child.mailboxes.release()
            os._exit(0)
        os.waitpid(pid, 0)

    pieces = salvaged_from(mailboxes, Child(mailboxes, work).run_id)
    assert text_of(pieces) == "of the job\n"


def test_the_output_of_another_child_is_left_alone(mailboxes: Mailboxes) -> None:
    first, second = (
        Child(mailboxes, lambda child: child.recorder.write(Stream.STDOUT, f"{child.run_id}"))
        for _ in range(2)
    )
    for child in second, first:
        assert text_of(salvaged_from(mailboxes, child.run_id)) == str(child.run_id)


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
    run_id, memory = uuid4(), RunMemory.create(LIMIT_BYTES)
    OutputRecorder(LIMIT_BYTES, memory.output()).write(Stream.STDOUT, "of the process\n")
    started.keep(run_id, [memory.descriptor])
    memory.close()
    assert child.salvaged(uuid4()) is None
    assert text_of(salvaged_from(child, run_id)) == "of the process\n"
    for each in [*(child._own or ()), *(started._own or ())]:
        each.close()


def test_a_child_knows_whether_the_process_that_it_started_for_its_run_is_recording_its_end() -> None:
    child, started = Mailboxes(), Mailboxes()
    child.open_own()
    started.adopt([os.dup(descriptor) for descriptor in child.own_descriptors()])
    run_id, memory = uuid4(), RunMemory.create(LIMIT_BYTES)
    assert not child.has_outcome(run_id)
    started.keep(run_id, [memory.descriptor])
    assert not child.has_outcome(run_id)
    memory.outcome = b"it"
    assert child.has_outcome(run_id)
    assert not child.has_outcome(uuid4())
    started.release()
    assert not child.has_outcome(run_id)
    memory.close()
    for each in [*(child._own or ()), *(started._own or ())]:
        each.close()


def test_each_thread_salvages_the_output_of_its_own_process() -> None:
    worker = Mailboxes()
    texts: list[str] = []
    both_have_begun = threading.Barrier(2, timeout=60)

    def execute(word: str) -> None:
        with worker.of_thread():
            started, run_id, memory = Mailboxes(), uuid4(), RunMemory.create(LIMIT_BYTES)
            started.adopt([os.dup(descriptor) for descriptor in worker.own_descriptors()])
            OutputRecorder(LIMIT_BYTES, memory.output()).write(Stream.STDOUT, word)
            started.keep(run_id, [memory.descriptor])
            memory.close()
            both_have_begun.wait()
            texts.append(text_of(salvaged_from(worker, run_id)))
            for each in started._own or ():
                each.close()

    threads = [threading.Thread(target=execute, args=[word]) for word in ("one", "other")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(texts) == ["one", "other"]
    assert worker.own_descriptors() == []


def dying_child(mailboxes: Mailboxes, work: Callable[[], object]) -> None:
    """A forked process with a mailbox that works, and then is killed."""
    pid = os.fork()
    if pid == 0:
        mailboxes.open_own()
        work()
        die()
    os.waitpid(pid, 0)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_child_that_dies_while_it_claims_a_run_has_not_begun_it(mailboxes: Mailboxes) -> None:
    run_id = uuid4()

    def claim() -> None:
        with mailboxes.claiming(run_id):
            die()

    dying_child(mailboxes, claim)
    assert mailboxes.salvaged(run_id) is None
    assert not mailboxes.was_claiming(uuid4())
    assert [mailboxes.was_claiming(run_id) for _ in range(2)] == [True, False]


def test_a_child_that_knows_its_claim_may_have_begun_the_run(mailboxes: Mailboxes) -> None:
    run_id = uuid4()

    def claim() -> None:
        with mailboxes.claiming(run_id):
            pass

    dying_child(mailboxes, claim)
    assert not mailboxes.was_claiming(run_id)


def test_a_run_that_is_claimed_inside_of_another_one_leaves_its_output_alone(mailboxes: Mailboxes) -> None:
    inner = uuid4()

    def work(child: Child) -> None:
        child.recorder.write(Stream.STDOUT, "outer\n")
        with mailboxes.claiming(inner):
            die()

    outer = Child(mailboxes, work)
    assert not mailboxes.was_claiming(inner)
    assert text_of(salvaged_from(mailboxes, outer.run_id)) == "outer\n"
