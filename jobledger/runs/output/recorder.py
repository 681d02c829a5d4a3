"""A run's output: bounded, in the order in which it was written, with stdout and stderr told apart.

An ``OutputRecorder`` accepts output from any thread. The first half of the limit is for the head of the
output, which can be saved as it comes in. After that only the tail is kept, which is saved at the end, after
a line that says how much was omitted. So a job that prints a gigabyte needs no more memory and rows than the
limit.

What is not saved yet is in the recorder's memory. Another process that has the same memory can save what the
recorder's own process could not, because it was killed (``OutputRecorder.restored``). A write has happened
once the header is updated, so that a process can be killed at any time. A recorder that shares its memory
with nobody gathers small texts first, since storing one takes several times as long as writing it to a file.
"""

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from operator import itemgetter
from struct import Struct
from typing import cast
from uuid import UUID

from jobledger import compiled
from jobledger.jobs.json_text import readable
from jobledger.models import Run, RunOutput, Stream

CHUNK_BYTES = 64 * 1024
# One for all recorders, because ``before_write`` may involve another one. A signal handler may write while
# its thread is writing.
LOCK = threading.RLock()
# Enough for the last line, and how many writes are joined at a time to get it.
END_BYTES = 4096
_MAX_ENDS = 30
COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# The limit, and what is left of it for the head. In the head: its end, the end of what is being saved, and of
# what is saved. The next row's number. Whether the tail is saved.
_HEADER = Struct("<7Q2Q")
# The end of the tail, and the size of its text.
_TAIL = Struct("<2Q")
_TAIL_AT = Struct("<7Q").size
# Each part of the output begins with its stream's mark, a byte that does not occur in UTF-8.
_MARKS = {Stream.STDOUT: b"\xff", Stream.STDERR: b"\xfe"}
_STREAMS = {mark[0]: stream for stream, mark in _MARKS.items()}
_PART = re.compile(rb"([\xfe\xff])([^\xfe\xff]+)")
# Of the tail, only whole parts can be read once its beginning is overwritten.
_PART_BYTES = 4096
_GATHERED_LENGTH = 1000
"""In characters: longer texts are not gathered."""
_GATHERED_TEXTS = 400
_Gathered = str | tuple[Stream, str]
"""Of stdout, to which jobs write most, it is only the text: to make a pair is a fifth of the time."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive text from one stream."""

    stream: Stream
    text: str


class OutputRecorder:
    """Keeps at most ``limit_bytes`` of a run's output: half of it for the head, half for the tail."""

    def __init__(self, limit_bytes: int, memory: mmap | None = None) -> None:
        """Keep what is not saved yet in this memory, which must have ``memory_bytes``, or else in private."""
        self._limit = limit_bytes
        self._head_left = limit_bytes // 2
        self._head_end = self._boundary = self._saved_end = self.next_number = 0
        self._tail_end = self._tail_bytes = self._is_tail_saved = 0
        self._head_at, self._tail_at, size = _layout(limit_bytes)
        self._ring = size - self._tail_at
        # Touched only as far as it is used.
        self._memory = memory if memory is not None else mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        self._head_stream: Stream | None = None
        self._tail_stream: Stream | None = None
        self._part_bytes = 0
        self._ends: dict[Stream, list[bytes]] = {stream: [] for stream in Stream}
        self._last_stream = Stream.STDOUT
        self._is_closed = False
        self._writing_thread: int | None = None
        self._gathers = memory is None
        # Any thread, and a signal handler, may append to it at any time.
        self._gathered = list[_Gathered]()
        self._pid = os.getpid()
        self.before_write: Callable[[], None] = _do_nothing
        """Records what has been written elsewhere before."""

    @classmethod
    def restored(cls, memory: mmap) -> "OutputRecorder":
        """A recorder that continues one in another process, which has ended."""
        limit_bytes, *head, is_tail_saved, tail_end, tail_bytes = _HEADER.unpack_from(memory)
        recorder = cls(limit_bytes, memory)
        recorder._head_left, recorder._head_end, recorder._boundary, recorder._saved_end = head[:4]
        recorder.next_number, recorder._is_tail_saved = head[4], is_tail_saved
        recorder._tail_end, recorder._tail_bytes = tail_end, tail_bytes
        recorder._is_closed = bool(recorder._is_tail_saved)
        return recorder

    @property
    def last_line(self) -> str:
        """The last line that is not blank, truncated to 500 characters."""
        self._end_gathering()
        return _last_line(self._end_of(self._last_stream))

    @property
    def last_error_line(self) -> str:
        """The same for stderr only."""
        self._end_gathering()
        return _last_line(self._end_of(Stream.STDERR))

    def write(self, stream: Stream, text: str) -> None:
        """Record text. Accepts any text; once closed, it is ignored."""
        if not self._gathers or len(text) > _GATHERED_LENGTH or self.before_write is not _do_nothing:
            self.write_utf8(stream, readable(text).encode())
            return
        self._gathered.append(text if stream is Stream.STDOUT else (stream, text))
        if len(self._gathered) >= _GATHERED_TEXTS:
            self._end_gathering()

    def passing_on(self, stream: Stream, pass_on: Callable[[str], object]) -> Callable[[str], int]:
        """``write`` for a stream that first passes each text on: one call, since jobs write millions."""
        gathered, longest = self._gathered, _GATHERED_LENGTH if self._gathers else -1
        is_stdout = stream is Stream.STDOUT

        def write(text: str) -> int:
            pass_on(text)
            length = len(text)
            if length > longest or self.before_write is not _do_nothing:
                self.write(stream, text)
            else:
                gathered.append(text if is_stdout else (stream, text))
                if len(gathered) >= _GATHERED_TEXTS:
                    self._end_gathering()
            return length

        return write

    def write_utf8(self, stream: Stream, data: bytes) -> None:
        """Record text that is UTF-8 and does not contain NUL."""
        if os.getpid() != self._pid:
            # A forked process: the run is not its own, and a thread that it does not have may hold the lock.
            self._gathered.clear()
            return
        with LOCK:
            self.before_write()
            if self._writing_thread == (own_thread := threading.get_ident()):
                # This is a signal handler, in the middle of another write.
                self._gathered.append((stream, data.decode()))
                return
            self._writing_thread = own_thread
            try:
                self._store_gathered()
                self._store(stream, data)
                self._store_gathered()
            finally:
                self._writing_thread = None

    def _store_gathered(self) -> None:
        while gathered := self._gathered[:]:
            for stream, text, count in _joined(gathered):
                self._store(stream, readable(text).encode())
                # Not before: an interrupt may be raised at any time.
                del self._gathered[:count]

    def _end_gathering(self) -> None:
        if self._gathered:
            self.write_utf8(Stream.STDOUT, b"")

    def omit(self, count: int) -> None:
        """Note that so many bytes were not even passed on; at least as many as the tail holds follow."""
        self._end_gathering()
        with LOCK:
            self._head_left = 0
            self._tail_bytes += count
            self.publish()

    def close(self) -> None:
        """From now on, ignore what is written; the tail can be saved."""
        with LOCK:
            self._end_gathering()
            self._is_closed = True

    def discard(self) -> None:
        """Release the memory: everything is saved."""
        with LOCK:
            self._is_closed = True
            self.before_write = _do_nothing
            self._memory.close()

    def unsaved(self) -> list[Piece]:
        """The pieces to be saved next, numbered from ``next_number``; the tail's only once it is closed.

        Until they are marked as saved, they are the same ones: it may not be known whether they have been.
        """
        with LOCK:
            self._end_gathering()
            if self._boundary == self._saved_end:
                self._boundary, self._head_stream = self._head_end, None
                self.publish()
            if self._boundary > self._saved_end:
                return list(_pieces(_parts(self._read_head(self._saved_end, self._boundary))))
            return self._closing() if self._is_closed else []

    def mark_saved(self, pieces: Sequence[Piece]) -> None:
        """These pieces, the last ones that ``unsaved`` has returned, are saved."""
        with LOCK:
            self.next_number += len(pieces)
            self._is_tail_saved = int(self._boundary == self._saved_end)
            self._saved_end = self._boundary
            self.publish()

    def _closing(self) -> list[Piece]:
        """The line that says how much was omitted, and the tail."""
        if self._is_tail_saved or not self._tail_bytes:
            return []
        parts = _last(_parts(self._read_tail()), self._limit - self._limit // 2)
        omitted = self._tail_bytes - sum(len(data) for _, data in parts)
        note = [Piece(stream=Stream.STDOUT, text=f"\n[… {omitted:,} bytes omitted …]\n")]
        return [*(note if omitted else []), *_pieces(parts)]

    def _store(self, stream: Stream, data: bytes) -> None:
        if not data or self._is_closed:
            return
        self._remember_end(stream, data)
        if self._head_left:
            data = self._append_to_head(stream, data)
        if data:
            self._append_to_tail(stream, data)

    def publish(self) -> None:
        """Let whoever has the memory know what is in it."""
        head = self._head_left, self._head_end, self._boundary, self._saved_end, self.next_number
        tail = self._is_tail_saved, self._tail_end, self._tail_bytes
        _HEADER.pack_into(self._memory, 0, self._limit, *head, *tail)

    def _append_to_head(self, stream: Stream, data: bytes) -> bytes:
        """Returns what no longer belongs to the head."""
        size = _end_of_character(data, self._head_left)
        # Nothing that follows may come before what does not fit.
        self._head_left = self._head_left - size if size == len(data) else 0
        if size:
            mark = b"" if stream is self._head_stream else _MARKS[stream]
            self._head_stream = stream
            begin, head = self._head_at + self._head_end, mark + data[:size]
            self._memory[begin : begin + len(head)] = head
            self._head_end += len(head)
        self.publish()
        return data[size:]

    def _append_to_tail(self, stream: Stream, data: bytes) -> None:
        size = len(data)
        self._part_bytes += size
        if stream is not self._tail_stream or self._part_bytes > _PART_BYTES:
            self._tail_stream, self._part_bytes = stream, size
            mark = _MARKS[stream]
            data = mark + data if size <= _PART_BYTES else b"".join(mark + part for part in _split(data))
        self._write_to_ring(data)
        self._tail_end += len(data)
        self._tail_bytes += size
        _TAIL.pack_into(self._memory, _TAIL_AT, self._tail_end, self._tail_bytes)

    def _write_to_ring(self, data: bytes) -> None:
        end = self._tail_end + len(data)
        data = data[-self._ring :]
        begin = self._tail_at + (end - len(data)) % self._ring
        left = self._tail_at + self._ring - begin
        if len(data) <= left:
            self._memory[begin : begin + len(data)] = data
        else:
            self._memory[begin : begin + left] = data[:left]
            self._memory[self._tail_at : self._tail_at + len(data) - left] = data[left:]

    def _read_head(self, begin: int, end: int) -> bytes:
        return self._memory[self._head_at + begin : self._head_at + end]

    def _read_tail(self) -> bytes:
        """All of the tail that is not overwritten, or is so only in part."""
        begin = self._tail_at + self._tail_end % self._ring
        if self._tail_end <= self._ring:
            return self._memory[self._tail_at : self._tail_at + self._tail_end]
        return self._memory[begin : self._tail_at + self._ring] + self._memory[self._tail_at : begin]

    def _end_of(self, stream: Stream) -> str:
        # Without the lock, which may be held in a forked process by a thread that it does not have.
        return b"".join(self._ends[stream]).decode(errors="ignore")

    def _remember_end(self, stream: Stream, data: bytes) -> None:
        ends = self._ends[stream]
        if not data.isspace():
            self._last_stream = stream
            if data[-END_BYTES:].isspace():
                data = data.rstrip() + b"\n"
        elif ends and ends[-1].endswith(b"\n"):
            return
        ends.append(data[-END_BYTES:])
        if len(ends) > _MAX_ENDS:
            ends[:] = [b"".join(ends)[-END_BYTES:]]


class UnsavedRecorder(OutputRecorder):
    """Only knows the last lines: another process saves the output."""

    def unsaved(self) -> list[Piece]:
        """Nothing."""
        return []


def _do_nothing() -> None:
    pass


def _joined(gathered: Sequence[_Gathered]) -> Iterator[tuple[Stream, str, int]]:
    """What was written to one stream after another, with the number of texts."""
    try:
        text = "".join(cast("Sequence[str]", gathered))
    except TypeError:  # Some are not on stdout.
        pairs = [(Stream.STDOUT, each) if isinstance(each, str) else each for each in gathered]
        for stream, group in groupby(pairs, key=itemgetter(0)):
            texts = [text for _, text in group]
            yield stream, "".join(texts), len(texts)
    else:
        yield Stream.STDOUT, text, len(gathered)


def memory_bytes(limit_bytes: int) -> int:
    """The size of a recorder's memory."""
    return _layout(limit_bytes)[2]


def _layout(limit_bytes: int) -> tuple[int, int, int]:
    """Where the head and the tail begin, and where the tail ends."""
    head = limit_bytes // 2
    # Every byte may have a mark, and so may the one after the last.
    tail_at = _HEADER.size + 2 * head + 1
    return _HEADER.size, tail_at, tail_at + 2 * (limit_bytes - head) + 3 * _PART_BYTES


def save(run_id: UUID, attempt: int, first_number: int, pieces: Sequence[Piece]) -> None:
    """Append the pieces to the run's output, numbered from ``first_number``."""
    rows = [
        RunOutput(run_id=run_id, attempt=attempt, number=number, stream=piece.stream, text=piece.text)
        for number, piece in enumerate(pieces, start=first_number)
    ]
    # They may have been saved already, even though the call failed or its process was killed.
    if len(rows) == 1:
        _INSERT.execute(**{name: getattr(rows[0], name) for name in _COLUMNS})
    else:
        RunOutput.objects.bulk_create(rows, ignore_conflicts=True)


_COLUMNS = "run_id", "attempt", "number", "stream", "text", "written_at"
_INSERT = compiled.Insert(RunOutput, *_COLUMNS)
"""Of a single row, as most runs have: it needs no transaction."""


def last_saved_line(run: Run, *streams: Stream) -> str:
    """The last line on these streams in the current attempt, as far as it is saved, up to 500 characters."""
    saved = RunOutput.objects.filter(run=run, attempt=run.attempt, stream__in=streams)
    text = saved.order_by("-number").values_list("text", flat=True).first() or ""
    return _last_line(text)


def _parts(data: bytes) -> Iterator[tuple[Stream, bytes]]:
    """The parts after the first mark; what comes before it is the rest of an overwritten part."""
    for mark, text in _PART.findall(data):
        yield _STREAMS[mark[0]], text


def _last(parts: Iterable[tuple[Stream, bytes]], limit_bytes: int) -> list[tuple[Stream, bytes]]:
    """The last parts, which together have at most ``limit_bytes`` and begin with a whole character."""
    kept = list(parts)
    excess = sum(len(data) for _, data in kept) - limit_bytes
    first = 0
    while excess > 0:
        stream, data = kept[first]
        kept[first] = stream, data[excess:].decode(errors="ignore").encode()
        excess -= len(data)
        first += 1
    return [(stream, data) for stream, data in kept if data]


def _pieces(parts: Iterable[tuple[Stream, bytes]]) -> Iterator[Piece]:
    """Adjacent parts of the same stream are joined, up to about a chunk's size."""
    stream, joined = Stream.STDOUT, b""
    for each, data in parts:
        if joined and (each is not stream or len(joined) >= CHUNK_BYTES):
            yield Piece(stream=stream, text=joined.decode())
            joined = b""
        stream, joined = each, joined + data
    if joined:
        yield Piece(stream=stream, text=joined.decode())


def _split(data: bytes) -> Iterator[bytes]:
    """Parts that end with a whole character."""
    begin = 0
    while begin < len(data):
        end = _end_of_character(data, begin + _PART_BYTES)
        yield data[begin:end]
        begin = end


def _end_of_character(data: bytes, limit: int) -> int:
    """The last position up to the limit that is not within a character."""
    if limit >= len(data):
        return len(data)
    while limit > 0 and data[limit] & 0xC0 == 0x80:
        limit -= 1
    return limit


def _last_line(end: str) -> str:
    # Django's styled lines end with an escape sequence after the line break: it is not a line of its own.
    lines = COLOUR.sub("", end).split("\n")
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")
