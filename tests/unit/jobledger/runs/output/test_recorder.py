"""Output is captured in order, by stream, up to a limit, and is always readable."""

import os
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import mmap
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.jobs.json_text import readable
from jobledger.models import Stream
from jobledger.runs.output.recorder import LOCK, OutputRecorder, Piece, memory_bytes
from tests.unit.jobledger.runs.output.outputs import drained, finished, text_of

STDOUT, STDERR = Stream.STDOUT, Stream.STDERR


def test_output_is_returned_in_order_with_its_streams() -> None:
    recorder = OutputRecorder(1000)
    for stream, text in [(STDOUT, "a\n"), (STDOUT, "b\n"), (STDERR, "oops\n"), (STDOUT, "c\n")]:
        recorder.write(stream, text)
    assert finished(recorder) == [
        Piece(stream=STDOUT, text="a\nb\n"),
        Piece(stream=STDERR, text="oops\n"),
        Piece(stream=STDOUT, text="c\n"),
    ]


def test_saved_output_is_not_returned_again() -> None:
    recorder = OutputRecorder(1000)
    recorder.write(STDOUT, "first\n")
    assert text_of(drained(recorder)) == "first\n"
    recorder.write(STDOUT, "second\n")
    assert text_of(finished(recorder)) == "second\n"
    assert finished(recorder) == []


def test_too_much_output_is_reduced_to_its_head_and_tail_with_a_line_that_says_how_much_was_omitted() -> None:
    recorder = OutputRecorder(100)
    for number in range(1000):
        recorder.write(STDOUT, f"line {number:04}\n")
    text = text_of(finished(recorder))
    assert text.startswith("line 0000\nline 0001\n")
    assert text.endswith("line 0998\nline 0999\n")
    assert "\n[… 9,900 bytes omitted …]\n" in text


def test_a_single_huge_write_is_limited_too() -> None:
    recorder = OutputRecorder(1000)
    recorder.write(STDOUT, "x" * 1_000_000 + "the end")
    text = text_of(finished(recorder))
    assert len(text) < 1100
    assert text.endswith("the end")


@pytest.mark.parametrize("size", [50, 100_000])
def test_memory_use_depends_on_the_limit_and_not_on_the_output(size: int) -> None:
    limit, written = 50_000, 1_000_000
    recorder, text = OutputRecorder(limit), "x" * (size - 1) + "\n"
    with memory_peak() as peak:
        for _ in range(written // size):
            recorder.write(STDOUT, text)
            drained(recorder)
        finished(recorder)
    assert peak[0] < 8 * limit


@contextmanager
def memory_peak() -> Iterator[list[int]]:
    """The peak memory use of the block in bytes, available at its end."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


@given(st.lists(st.text(alphabet=st.characters(), max_size=40), max_size=30), st.integers(2, 200))
def test_at_most_the_limit_is_kept_and_everything_that_fits_is_kept(writes: list[str], limit: int) -> None:
    recorder = OutputRecorder(limit)
    for text in writes:
        recorder.write(STDOUT, text)
    kept = text_of(finished(recorder))
    written = readable("".join(writes))
    if len(written.encode()) <= limit // 2 or "bytes omitted" not in kept:
        assert kept == written
    else:
        before, _, rest = kept.partition("\n[… ")
        after = rest.partition("…]\n")[2]
        assert written.startswith(before)
        assert written.endswith(after)
        assert len((before + after).encode()) <= limit


@given(st.text(alphabet=st.characters(categories=["Cs", "Cc", "Ll"])))
def test_readable_text_has_neither_nul_nor_surrogates(text: str) -> None:
    assert "\x00" not in readable(text)
    assert readable(text).encode().decode() == readable(text)


def test_nul_and_lone_surrogates_stay_visible() -> None:
    assert readable("a\x00b\udcffc") == "a␀b\\udcffc"


@pytest.mark.parametrize(
    ("writes", "last_line"),
    [
        (["one\n", "two\n"], "two"),
        (["one\n", "\n", "  \n"], "one"),
        (["one\ntw", "o"], "two"),
        ([], ""),
        (["x" * 600], "x" * 500),
        (["one\ntw", " ", "o"], "tw o"),
        (["one\n" + "\n" * 10_000], "one"),
        (["one\n", *["\n" * 100] * 250], "one"),
    ],
)
def test_the_last_line_is_the_last_non_blank_line(writes: list[str], last_line: str) -> None:
    recorder = OutputRecorder(10_000)
    for text in writes:
        recorder.write(STDOUT, text)
    assert recorder.last_line == last_line


def test_the_line_that_says_how_much_was_omitted_appears_once() -> None:
    recorder = OutputRecorder(100)
    recorder.write(STDOUT, "x" * 1000)
    finished(recorder)
    assert finished(recorder) == []


@pytest.fixture
def while_storing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Lets something happen once, in the middle of storing what was gathered."""

    def happen(action: Callable[[], object]) -> None:
        actions = [action]

        def readable_then(text: str) -> str:
            if actions:
                actions.pop()()
            return readable(text)

        monkeypatch.setattr("jobledger.runs.output.recorder.readable", readable_then)

    return happen


def many(recorder: OutputRecorder) -> str:
    """Write more than is gathered at a time."""
    lines = [f"line {number}\n" for number in range(450)]
    for line in lines:
        recorder.write(STDOUT, line)
    return "".join(lines)


def test_an_interrupt_at_any_time_loses_no_text(while_storing: Any) -> None:
    recorder, written = OutputRecorder(10_000), "line\n" * 150

    def interrupt() -> None:
        raise KeyboardInterrupt

    for _ in range(150):
        recorder.write(STDOUT, "line\n")
    while_storing(interrupt)
    with pytest.raises(KeyboardInterrupt):
        recorder.write_utf8(STDERR, b"")
    assert text_of(finished(recorder)) == written


@pytest.mark.parametrize("text", ["short\n", "long " * 1000])
def test_what_a_signal_handler_writes_in_the_middle_of_a_write_comes_after_it(
    text: str, while_storing: Any
) -> None:
    recorder = OutputRecorder(100_000)
    while_storing(lambda: recorder.write(STDERR, text))
    written = many(recorder)
    out, err, rest = finished(recorder)
    assert (err, out.text + rest.text) == (Piece(stream=STDERR, text=text), written)


def test_so_does_what_it_writes_to_memory_that_other_processes_have() -> None:
    handlers = list[Callable[[], None]]()

    class Memory(mmap):
        def __setitem__(self, index: Any, value: Any) -> None:
            if handlers:
                handlers.pop()()
            super().__setitem__(index, value)

    recorder = OutputRecorder(1000, Memory(-1, memory_bytes(1000)))
    handlers.append(lambda: recorder.write(STDERR, "oops\n"))
    for text in "a\n", "b\n":
        recorder.write(STDOUT, text)
    assert text_of(finished(recorder)) == "a\noops\nb\n"


def test_another_thread_can_take_over_from_one_that_never_ends_its_write(while_storing: Any) -> None:
    """As when the process is about to end at once."""
    recorder, found = OutputRecorder(10_000), list[str]()

    def take_over() -> None:
        LOCK.release()
        thread = Thread(target=lambda: found.append(text_of(finished(recorder))))
        thread.start()
        thread.join()
        LOCK.acquire()

    while_storing(take_over)
    written = many(recorder)
    assert found[0].count("\n") >= 200
    assert written.startswith(found[0])


def test_a_forked_process_gathers_nothing() -> None:
    recorder = OutputRecorder(1000)
    recorder.write(STDOUT, "of the job\n")
    if (pid := os.fork()) == 0:
        many(recorder)
        os._exit(len(recorder._gathered) > 200)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert text_of(finished(recorder)) == "of the job\n"


def test_threads_may_write_at_the_same_time() -> None:
    recorder = OutputRecorder(1_000_000)
    threads = [Thread(target=many, args=[recorder]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = Counter(text_of(finished(recorder)).splitlines())
    assert lines == {f"line {number}": 4 for number in range(450)}


def test_a_forked_process_does_not_write_to_the_memory_of_its_parents_run() -> None:
    recorder = OutputRecorder(1000, mmap(-1, memory_bytes(1000)))
    recorder.write(STDOUT, "of the job\n")
    if (pid := os.fork()) == 0:
        recorder.write(STDOUT, "of the forked process\n")
        os._exit(0)
    os.waitpid(pid, 0)
    assert text_of(finished(OutputRecorder.restored(recorder._memory))) == "of the job\n"
