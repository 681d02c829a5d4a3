"""The text streams of a job: what is written to them is on its run.

A ``RunStream`` takes the place of ``sys.stdout`` or ``sys.stderr`` in a worker, where there is nothing to
pass the text on to. A ``Tee`` does so on the command line: it records, and passes everything on to the stream
that it replaces. A ``RoutedStream`` leads to the run of whoever writes, where many are executed at a time.
"""

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

from jobledger.models import Stream
from jobledger.runs.output.recorder import OutputRecorder

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NOWHERE = OutputRecorder(0)
_NOWHERE.close()
DESCRIPTORS = {Stream.STDOUT: 1, Stream.STDERR: 2}


class Utf8Source:
    """Bytes that come from one source, to be recorded: a character may come in parts, or not be UTF-8."""

    def __init__(self, recorder: OutputRecorder, stream: Stream) -> None:
        """Record as ``stream``."""
        self.recorder = recorder
        self._stream = stream
        self.decode_as("utf-8")

    def decode_as(self, encoding: str) -> None:
        """From now on, the bytes are in this encoding."""
        self._encoding = codecs.lookup(encoding).name
        self._is_utf8 = self._encoding == "utf-8"
        # Not backslashreplace, with which a gigabyte of binary data would take minutes.
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._has_part = False

    def write(self, data: bytes) -> None:
        if self._is_utf8 and not self._has_part and data.isascii() and b"\x00" not in data:
            self.recorder.write_utf8(self._stream, data)
            return
        self.recorder.write(self._stream, self._decoder.decode(data))
        self._has_part = bool(self._decoder.getstate()[0])

    def write_below(self, buffer: object, data: bytes) -> None:
        """Write what has been written to the buffer, maybe by a text stream that the job has put above it.

        Only what is not in the expected encoding is taken to be in that stream's: others may write here, too.
        """
        encoding = None if data.isascii() else _encoding_above(buffer, self._stream)
        # In the expected one, a character may come in parts.
        if encoding is None or codecs.lookup(encoding).name == self._encoding or _is_in(self._encoding, data):
            self.write(data)
        else:
            self.recorder.write(self._stream, data.decode(encoding, "replace"))

    def end(self) -> None:
        """Record the beginning of a character of which no more will come."""
        self.recorder.write(self._stream, self._decoder.decode(b"", final=True))
        self._decoder.reset()
        self._has_part = False


class RunStream(io.TextIOWrapper):
    """A text stream that records, with everything that ``sys.stdout`` has.

    In a process forked by the job, it writes to the descriptor, whose other end is read in the job's process.
    After the run, what is written is dropped: a handler that a job has left behind may still do so.
    """

    def __init__(self, recorder: OutputRecorder, stream: Stream) -> None:
        self._target = _RunBuffer(recorder, stream)
        # Half of a character cannot be encoded, and is escaped.
        super().__init__(
            self._target, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True
        )

    mode = "w"

    def reconfigure(self, **options: Any) -> None:
        """As in ``io.TextIOWrapper``. Text is recorded at once, whatever the options say."""
        super().reconfigure(**{**options, "write_through": True})
        self._target.source.decode_as(self.encoding)

    def end(self) -> None:
        """Drop what is written from now on."""
        self._target.end()


class _RunBuffer(io.BufferedIOBase):
    """The ``buffer`` of a ``RunStream``."""

    mode = "wb"

    def __init__(self, recorder: OutputRecorder, stream: Stream) -> None:
        self.name = f"<{stream}>"
        self.source = Utf8Source(recorder, stream)
        self._descriptor, self._pid = DESCRIPTORS[stream], os.getpid()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The process's descriptor: what is written to it is recorded, too."""
        return self._descriptor

    @property
    def raw(self) -> io.RawIOBase:
        return io.FileIO(self._descriptor, "w", closefd=False)

    def write(self, data: "ReadableBuffer", /) -> int:
        written = bytes(data)
        if os.getpid() != self._pid:
            _write_all(self._descriptor, written)
        else:
            self.source.write_below(self, written)
        return len(written)

    def end(self) -> None:
        self.source.end()
        # Otherwise, a handler that a job has left behind would keep the memory of its run's output.
        self.source.recorder = _NOWHERE


class RoutedStream:
    """Takes the place of ``sys.stdout`` or ``sys.stderr`` for all runs of a process.

    It is like the stream that ``current`` returns, which it asks for at each use.
    """

    def __init__(self, current: Callable[[Stream], Any], stream: Stream) -> None:
        self._current, self._stream = current, stream

    def write(self, text: str) -> Any:
        return self._current(self._stream).write(text)

    def __getattr__(self, name: str) -> Any:
        if name in ("_current", "_stream"):  # not set yet
            raise AttributeError(name)
        return getattr(self._current(self._stream), name)


class Tee:
    """A text stream that records everything and passes it on to another stream, if there is one.

    In everything else it is like the other stream. It is a terminal if the other is, so that jobs use colours
    just as they would without recording.
    """

    def __init__(self, recorder: OutputRecorder, stream: Stream, passed_on: IO[str] | None = None) -> None:
        """Record as ``stream``, and pass on to ``passed_on``."""
        self._recorder = recorder
        self._stream = stream
        self.passed_on = passed_on
        self.write = recorder.passing_on(stream, _drop if passed_on is None else passed_on.write)
        """Pass on, then record: what could not be passed on is not recorded."""

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self.passed_on is not None and hasattr(self.passed_on, "flush"):
            self.passed_on.flush()

    def isatty(self) -> bool:
        return self.passed_on is not None and hasattr(self.passed_on, "isatty") and self.passed_on.isatty()

    def writable(self) -> bool:
        return True

    @cached_property
    def buffer(self) -> "_BufferTee":
        """The other stream's buffer; what is written to it is recorded, too."""
        return _BufferTee(Utf8Source(self._recorder, self._stream), getattr(self.passed_on, "buffer"))  # noqa: B009

    def __getattr__(self, name: str) -> Any:
        if name == "passed_on":  # not set yet
            raise AttributeError(name)
        return getattr(self.passed_on, name)


def _drop(text: str) -> None:
    pass


class _BufferTee:
    """The ``buffer`` of a ``Tee``."""

    def __init__(self, recorded: Utf8Source, passed_on: Any) -> None:
        self._recorded, self._passed_on = recorded, passed_on

    def write(self, data: "ReadableBuffer") -> int:
        written: int = self._passed_on.write(data)
        self._recorded.write_below(self, bytes(data))
        return written

    def __getattr__(self, name: str) -> Any:
        if name == "_passed_on":  # not set yet
            raise AttributeError(name)
        return getattr(self._passed_on, name)


def _encoding_above(buffer: object, stream: Stream) -> str | None:
    """The encoding of ``sys.stdout`` or ``sys.stderr`` if that is a text stream above this buffer."""
    text = getattr(sys, stream.value, None)
    with suppress(ValueError):  # it is detached
        if isinstance(text, io.TextIOWrapper) and text.buffer is buffer:
            return text.encoding
    return None


def _is_in(encoding: str, data: bytes) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
