"""A job's streams record what is written to them."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from jobledger.models import Stream
from jobledger.runs.output.recorder import OutputRecorder, Piece
from jobledger.runs.output.streams import RunStream, Tee, Utf8Source
from tests.unit.jobledger.runs.output.outputs import finished, text_of
from tests.unit.terminals import Terminal

STDOUT, STDERR = Stream.STDOUT, Stream.STDERR


def test_a_tee_passes_on_and_records() -> None:
    recorder, target = OutputRecorder(100), io.StringIO()
    Tee(recorder, STDERR, target).write("hello")
    assert target.getvalue() == "hello"
    assert finished(recorder) == [Piece(stream=STDERR, text="hello")]


@pytest.mark.parametrize(("target", "expected"), [(Terminal(), True), (io.StringIO(), False), (None, False)])
def test_a_tee_is_a_terminal_if_its_target_is(target: io.StringIO | None, expected: bool) -> None:
    assert Tee(OutputRecorder(100), STDOUT, target).isatty() is expected


def on_terminal_of(encoding: str) -> tuple[io.BytesIO, io.TextIOWrapper]:
    """A stream like ``sys.stdout``, and what arrives below it."""
    target = io.BytesIO()
    return target, io.TextIOWrapper(target, encoding=encoding, errors="replace")


def test_a_tee_is_otherwise_like_its_target() -> None:
    target, stream = on_terminal_of("latin-1")
    recorder = OutputRecorder(100)
    tee = Tee(recorder, STDOUT, stream)
    tee.writelines(["é", "🐍"])
    tee.flush()
    tee.buffer.write(b"bytes")
    tee.buffer.flush()
    tee.reconfigure(line_buffering=True)
    assert (tee.encoding, tee.errors, tee.line_buffering) == ("latin-1", "replace", True)
    assert target.getvalue() == b"\xe9?bytes"
    assert text_of(finished(recorder)) == "é🐍bytes"


def test_a_tee_has_no_buffer_if_its_target_has_none() -> None:
    assert not hasattr(Tee(OutputRecorder(100), STDOUT, io.StringIO()), "buffer")


def test_what_a_tee_gets_after_the_run_is_only_passed_on() -> None:
    recorder, target = OutputRecorder(100), io.StringIO()
    tee = Tee(recorder, STDOUT, target)
    tee.write("in time, ")
    recorded = finished(recorder)
    tee.write("late")
    assert target.getvalue() == "in time, late"
    assert (text_of(recorded), recorder.unsaved()) == ("in time, ", [])


def test_a_run_stream_that_has_ended_drops_what_is_written() -> None:
    recorder = OutputRecorder(100)
    stream = RunStream(recorder, STDOUT)
    stream.write("during\n")
    stream.end()
    assert stream.write("after\n") == len("after\n")
    stream.flush()
    stream.reconfigure(encoding="latin-1")
    assert text_of(finished(recorder)) == "during\n"


def test_bytes_of_several_sources_do_not_mix_within_a_character() -> None:
    recorder = OutputRecorder(100)
    one, two = Utf8Source(recorder, STDOUT), Utf8Source(recorder, STDOUT)
    first, second = "é".encode()[:1], "é".encode()[1:]
    for source, data in (one, first), (two, first), (one, second), (two, b"x"):
        source.write(data)
    assert text_of(finished(recorder)) == "é\ufffdx"


@pytest.mark.parametrize("make_below", [lambda stream: stream.buffer, lambda stream: stream.detach()])
def test_a_text_stream_of_the_jobs_own_is_recorded_in_its_encoding(
    make_below: Callable[[io.TextIOWrapper], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = OutputRecorder(100)
    stream = RunStream(recorder, STDOUT)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(make_below(stream), encoding="latin-1"))
    print("ä", flush=True)
    assert text_of(finished(recorder)) == "ä\n"


def test_what_others_write_below_a_jobs_own_text_stream_is_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = OutputRecorder(100)
    stream = RunStream(recorder, STDOUT)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream.buffer, encoding="latin-1"))
    stream.write("ä🐍")
    assert text_of(finished(recorder)) == "ä🐍"


def test_a_text_stream_above_a_tee_is_recorded_in_its_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = OutputRecorder(100)
    target, stream = on_terminal_of("utf-8")
    tee: Any = Tee(recorder, STDOUT, stream)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(tee.buffer, encoding="latin-1"))
    print("ä", flush=True)
    assert (target.getvalue(), text_of(finished(recorder))) == (b"\xe4\n", "ä\n")
