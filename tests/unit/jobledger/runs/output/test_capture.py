"""Whatever a job writes in a worker is on its run, in the order in which it was written."""

import ctypes
import io
import logging
import math
import os
import select
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, cast

import psutil
import pytest

from jobledger.models import Run, Stream
from jobledger.runs.output.capture import of_call, of_command_line, of_worker
from jobledger.runs.output.descriptors import Descriptors
from jobledger.runs.output.recorder import LOCK, OutputRecorder, Piece
from tests.unit.jobledger.runs.output.outputs import finished, text_of
from tests.waiting import wait_until

STDOUT, STDERR = Stream.STDOUT, Stream.STDERR
FULLY_BUFFERED, NOT_BUFFERED = 0, 2  # of stdio.h
# In UTF-8, this takes four bytes.
SNAKE = "🐍"


@contextmanager
def capturing() -> Iterator[list[Piece]]:
    """Capture as in a worker; the list has the output at the end."""
    pieces: list[Piece] = []
    with of_worker(Run()) as captured:
        try:
            yield pieces
        finally:
            captured.end()
        pieces += finished(captured.recorder)


def shell(script: str, **options: Any) -> None:
    subprocess.run(["sh", "-c", script], check=True, **options)


def test_all_that_a_process_writes_is_in_order_with_its_streams() -> None:
    with capturing() as pieces:
        print("print")
        shell("echo subprocess")
        print("to stderr", file=sys.stderr)
        os.write(1, b"descriptor\n")
        sys.stdout.buffer.write(b"buffer\n")
        os.write(2, b"descriptor 2\n")
        sys.stdout.write("write\n")
    assert pieces == [
        Piece(stream=STDOUT, text="print\nsubprocess\n"),
        Piece(stream=STDERR, text="to stderr\n"),
        Piece(stream=STDOUT, text="descriptor\nbuffer\n"),
        Piece(stream=STDERR, text="descriptor 2\n"),
        Piece(stream=STDOUT, text="write\n"),
    ]


def test_what_was_written_before_comes_before_even_if_it_is_not_read_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Descriptors, "serve", lambda descriptors: math.inf)
    with capturing() as pieces:
        shell("echo subprocess")
        print("print")
    assert text_of(pieces) == "subprocess\nprint\n"


@pytest.mark.parametrize("script", ["echo one; echo two >&2", "echo two >&2; echo one"])
def test_the_stream_to_which_a_subprocess_writes_first_comes_first(script: str) -> None:
    with capturing() as pieces:
        shell(script)
    texts = [piece.text for piece in pieces]
    assert texts == (["one\n", "two\n"] if script.startswith("echo one") else ["two\n", "one\n"])


def test_what_a_c_library_has_buffered_is_written_at_the_end_of_the_run() -> None:
    c, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(4096)
    stdout = ctypes.c_void_p.in_dll(c, "stdout")
    # As it is unless PYTHONUNBUFFERED is set.
    c.setvbuf(stdout, buffer, FULLY_BUFFERED, len(buffer))
    with capturing() as pieces:
        c.printf(b"from C\n")
    c.setvbuf(stdout, None, NOT_BUFFERED, 0)
    assert text_of(pieces) == "from C\n"


def test_a_subprocess_can_open_its_standard_streams_by_name() -> None:
    with capturing() as pieces:
        shell("echo one > /dev/stdout; echo two > /dev/stderr")
    assert pieces == [Piece(stream=STDOUT, text="one\n"), Piece(stream=STDERR, text="two\n")]


def test_threads_of_the_job_are_captured() -> None:
    with capturing() as pieces:
        thread = threading.Thread(target=print, args=["from a thread"])
        thread.start()
        thread.join()
    assert text_of(pieces) == "from a thread\n"


def test_a_process_forked_by_the_job_is_captured() -> None:
    with capturing() as pieces:
        print("before")
        if (pid := os.fork()) == 0:
            print("forked")
            logging.getLogger("forked").warning("logged")
            os._exit(0)
        # Not for any child: an earlier test may have left one.
        os.waitpid(pid, 0)
        print("after")
    lines = text_of(pieces).splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("before", "forked", "after")
    assert lines[2].endswith("WARNING forked: logged")


def test_a_process_forked_by_the_job_can_end_even_if_another_thread_was_recording() -> None:
    is_held, may_go_on = threading.Event(), threading.Event()

    def record() -> None:
        with LOCK:
            is_held.set()
            may_go_on.wait()

    thread = threading.Thread(target=record)
    with of_worker(Run()) as captured:
        thread.start()
        is_held.wait()
        if (pid := os.fork()) != 0:
            try:
                wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, what="the forked process ends")
            finally:
                may_go_on.set()
            captured.end()
    if pid == 0:
        os._exit(0)
    thread.join()


def test_much_output_of_a_subprocess_blocks_nothing_and_is_limited() -> None:
    with capturing() as pieces:
        shell("head -c 100000000 /dev/zero | tr '\\0' x; echo the end")
    text = text_of(pieces)
    assert len(text) < 1024 * 1024 + 100
    assert "bytes omitted" in text
    assert text.endswith("xthe end\n")


def test_the_job_can_write_while_a_subprocess_writes_without_end() -> None:
    with capturing() as pieces:
        endless = subprocess.Popen(["yes"], stdout=sys.stdout)
        print("still here")
        endless.kill()
        endless.wait()
        print("the end")
    assert text_of(pieces).endswith("the end\n")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xff\x00\xfe", "\ufffd␀\ufffd"),
        (SNAKE.encode()[:3], "\ufffd"),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
    ],
)
def test_what_is_not_utf_8_is_kept_readable(data: bytes, text: str) -> None:
    with capturing() as pieces:
        os.write(1, data)
        sys.stdout.buffer.write(data)
    assert text_of(pieces) == text * 2


def test_a_character_may_come_in_parts() -> None:
    with capturing() as pieces:
        for byte in SNAKE.encode():
            os.write(1, bytes([byte]))
            sys.stdout.buffer.write(bytes([byte]))
            os.write(2, b".")
    assert sorted(text_of(pieces)) == sorted(SNAKE * 2 + "....")


def test_half_of_a_character_is_escaped() -> None:
    with capturing() as pieces:
        print("a\udcff")
    assert text_of(pieces) == "a\\udcff\n"


def test_stdout_is_what_jobs_expect_of_it() -> None:
    with capturing() as pieces:
        stdout = cast("Any", sys.stdout)
        stdout.reconfigure(encoding="latin-1", line_buffering=False)
        print("é")
        attributes = (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno(), sys.stdout.writable())
        stdout.reconfigure(encoding="utf-8")
        print(SNAKE, flush=True)
        stdout.buffer.raw.write(b"raw\n")
    assert attributes == ("latin-1", False, 1, True)
    assert text_of(pieces) == f"é\n{SNAKE}\nraw\n"


def test_a_subprocess_gets_the_stream_itself() -> None:
    with capturing() as pieces:
        subprocess.run(["echo", "moved"], stdout=sys.stderr, check=True)
    assert pieces == [Piece(stream=STDERR, text="moved\n")]


# What a job does to its streams.


@pytest.mark.parametrize("descriptor", [1, 2])
def test_a_job_may_close_its_descriptors(descriptor: int) -> None:
    with capturing() as pieces:
        os.close(descriptor)
        print("still there")
    assert text_of(pieces) == "still there\n"
    os.write(descriptor, b"")


def test_a_job_may_close_all_descriptors() -> None:
    """The process is of no use afterwards, but the end of the run can be recorded."""
    if (pid := os.fork()) == 0:
        # Not pytest's.
        threading.excepthook = threading.__excepthook__
        with of_worker(Run()) as captured:
            print("before")
            # A pipe lives on in the worker's main process.
            os.dup2(cast("Any", captured)._descriptors.pipes[STDOUT], 900)
            os.closerange(3, 900)
            reused = [os.open("/proc/self/status", os.O_RDONLY) for _ in range(50)]
            os.write(1, b"not read")
            thread = cast("Any", captured)._descriptors._reader.thread
            print("after")
            captured.end()
            wait_until(lambda: not thread.is_alive(), what="the thread has ended, without a traceback")
            text = text_of(finished(captured.recorder))
            is_intact = all(os.read(descriptor, 4) == b"Name" for descriptor in reused)
            os._exit(0 if is_intact and text == "before\nafter\n" else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_reading_thread_calls_back_until_it_is_told_enough() -> None:
    seconds = iter((0.01, 0.02, None))
    called: list[int] = []

    def tick() -> float | None:
        called.append(threading.get_ident())
        return next(seconds)

    with of_worker(Run()) as captured:
        thread = cast("Any", captured)._descriptors._reader.thread
        assert captured.tick(tick)
        print("meanwhile", flush=True)
        wait_until(lambda: len(called) == 3, what="it was called three times")
        captured.end()
    assert called == [thread.ident] * 3


def test_it_also_does_if_the_job_closes_all_descriptors() -> None:
    if (pid := os.fork()) == 0:
        called: list[float] = []

        def tick() -> float:
            called.append(0.01)
            return called[-1]

        with of_worker(Run()) as captured:
            captured.tick(tick)
            os.closerange(3, 900)
            before = len(called)
            wait_until(lambda: len(called) > before + 2, what="it is called")
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_loggers_are_as_before_once_the_job_has_finished() -> None:
    logger = logging.getLogger("a.job")
    with of_worker(Run()) as captured:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.ERROR)
        captured.restore_loggers()
        assert (logger.level, logger.handlers) == (logging.NOTSET, [])
        logger.warning("still recorded")
        captured.end()
        text = text_of(finished(captured.recorder))
    assert text.endswith("WARNING a.job: still recorded\n")


def test_without_a_reading_thread_nobody_calls_back() -> None:
    assert not of_call(OutputRecorder(1000)).tick(lambda: None)


def test_a_job_may_replace_its_streams() -> None:
    before = sys.stdout
    with capturing() as pieces:
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        print("buffered")
    assert sys.stdout is before
    assert text_of(pieces) == "buffered\n"


def test_what_a_job_redirects_is_not_its_output() -> None:
    with capturing() as pieces, redirect_stdout(io.StringIO()) as target:
        print("hidden")
    assert target.getvalue() == "hidden\n"
    assert pieces == []


# What a job leaves behind.


def test_a_process_that_keeps_the_pipes_open_does_not_hold_the_run_nor_write_to_the_next_one(
    tmp_path: Path,
) -> None:
    fifo, ready = tmp_path / "fifo", tmp_path / "ready"
    os.mkfifo(fifo)
    with capturing() as first:
        left = subprocess.Popen(["sh", "-c", f"echo early; touch {ready}; read line < {fifo}; echo late"])
        wait_until(ready.exists)
    with capturing() as second:
        fifo.write_text("go on\n")
        left.wait()
    assert text_of(first) == "early\n"
    assert second == []


def test_a_thread_that_is_left_behind_writes_to_no_other_run() -> None:
    with capturing():
        kept = sys.stdout
    with capturing() as second:
        print("of the first run", file=kept)
        kept.flush()
    assert second == []


def state() -> tuple[object, ...]:
    """What a run might change in its process."""
    streams = sys.stdout, sys.stderr, Path("/proc/self/fd/1").readlink(), Path("/proc/self/fd/2").readlink()
    return streams, [(handler, handler.filters[:]) for handler in logging.root.handlers]


def resources() -> set[object]:
    """The threads and open files of this process."""
    found: set[object] = {thread.id for thread in psutil.Process().threads()}
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - closes its own before it returns
        with suppress(FileNotFoundError):
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))  # noqa: PTH115 - as above
    return found


def test_nothing_of_it_is_left_in_the_process() -> None:
    before, held = state(), resources()
    with capturing():
        shell("echo something")
    assert state() == before
    # What earlier tests have left may end meanwhile; a thread that was joined may still be about to.
    wait_until(lambda: resources() <= held, what="all that it took is given back")


def test_without_descriptors_to_spare_only_what_python_writes_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", fail)
    monkeypatch.setattr(select, "epoll", fail)
    with capturing() as pieces:
        print("printed")
        shell("echo not recorded")
    assert text_of(pieces) == "printed\n"


@pytest.mark.parametrize(
    ("owner", "name", "errors"),
    [
        (os, "pipe", [None, OSError(24, "Too many open files")]),
        (os, "pipe", [None, None, OSError(24, "Too many open files")]),
        (os, "dup2", [OSError(24, "Too many open files")]),
        (os, "dup2", [None, OSError(24, "Too many open files")]),
        (threading.Thread, "start", [RuntimeError("can't start new thread")]),
    ],
)
def test_a_process_at_its_limits_is_left_as_it_was(
    owner: Any, name: str, errors: list[Exception | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, call, to_raise = state(), getattr(owner, name), iter(errors)

    def fail(*args: Any) -> Any:
        if (error := next(to_raise, None)) is not None:
            raise error
        return call(*args)

    monkeypatch.setattr(owner, name, fail)
    with capturing() as pieces:
        print("printed")
    assert text_of(pieces) == "printed\n"
    assert state() == before


# Jobs that are called by jobs.


def test_the_output_of_a_called_job_is_its_own() -> None:
    inner = OutputRecorder(1000)
    with capturing() as outer:
        print("outer begins")
        shell("echo outer subprocess")
        with of_call(inner) as captured:
            print("inner")
            shell("echo inner subprocess")
            logging.getLogger("inner").warning("logged")
            captured.end()
        print("outer ends")
    assert text_of(outer) == "outer begins\nouter subprocess\nouter ends\n"
    *lines, logged = text_of(finished(inner)).splitlines()
    assert lines == ["inner", "inner subprocess"]
    assert logged.endswith("WARNING inner: logged")


def test_a_called_job_may_outlive_its_caller_in_another_thread() -> None:
    before = sys.stdout
    first, second = OutputRecorder(1000), OutputRecorder(1000)
    with capturing() as outer:
        with of_call(first) as one, of_call(second) as two:
            one.end()
            print("second")
            two.end()
        print("outer")
    assert sys.stdout is before
    assert text_of(outer) == "outer\n"
    assert text_of(finished(second)) == "second\n"


def test_warnings_are_on_the_run_every_time() -> None:
    logging.captureWarnings(capture=True)  # as Celery does
    for _ in range(2):
        with capturing() as pieces:
            warnings.simplefilter("default")
            warnings.warn("careful", UserWarning, stacklevel=1)
        assert "UserWarning: careful" in text_of(pieces)
        assert {piece.stream for piece in pieces} == {STDERR}


# On the command line.


@contextmanager
def on_the_command_line() -> Iterator[OutputRecorder]:
    recorder = OutputRecorder(1000)
    with of_command_line(recorder) as captured:
        yield recorder
        captured.end()


def test_on_the_command_line_what_python_writes_is_recorded_and_passed_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with on_the_command_line() as recorder:
        print("printed")
        sys.stdout.flush()
        shell("echo subprocess")
        print("to stderr", file=sys.stderr)
        sys.stdout.buffer.write(b"buffer\n")
    assert capfd.readouterr() == ("printed\nsubprocess\nbuffer\n", "to stderr\n")
    assert finished(recorder) == [
        Piece(stream=STDOUT, text="printed\n"),
        Piece(stream=STDERR, text="to stderr\n"),
        Piece(stream=STDOUT, text="buffer\n"),
    ]


def test_on_the_command_line_what_is_logged_is_recorded_and_passed_on(
    capfd: pytest.CaptureFixture[str],
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger("shop").addHandler(handler)
    with on_the_command_line() as recorder:
        logging.getLogger("shop").warning("late")
    logging.getLogger("shop").removeHandler(handler)
    assert capfd.readouterr().err == "late\n"
    assert text_of(finished(recorder)).endswith("WARNING shop: late\n")


def test_on_the_command_line_a_called_job_is_passed_on_once(capfd: pytest.CaptureFixture[str]) -> None:
    inner = OutputRecorder(1000)
    with on_the_command_line() as outer, of_call(inner) as captured:
        print("inner")
        captured.end()
    assert capfd.readouterr().out == "inner\n"
    assert text_of(finished(inner)) == "inner\n"
    assert finished(outer) == []


def test_elsewhere_only_the_streams_of_the_command_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = OutputRecorder(1000)
    with of_call(recorder) as captured:
        print("by somebody")
        captured.stream_for(STDOUT, sys.stdout).write("by the command\n")
        captured.end()
    assert capsys.readouterr().out == "by somebody\nby the command\n"
    assert text_of(finished(recorder)) == "by the command\n"


def test_another_thread_than_the_main_one_captures_only_the_streams_of_the_command() -> None:
    before, found = sys.stdout, list[object]()

    def execute() -> None:
        with of_worker(Run()) as captured:
            found.append(sys.stdout)
            captured.end()

    thread = threading.Thread(target=execute)
    thread.start()
    thread.join()
    assert found == [before]
