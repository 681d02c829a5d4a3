"""Captures a run's output: bounded, in chunks, with stdout and stderr told apart.

An ``OutputRecorder`` accepts text from any thread and keeps it until it is drained. The first half of the
limit is for the head of the output, which is returned as it comes in. After that only the tail is kept, which
``finish`` returns after a line that says how much was omitted. So a job that prints a gigabyte needs no more
memory and rows than the limit.

``Tee`` is the stream that a command writes to: it records, and passes everything on to the terminal.
"""

import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO
from uuid import UUID

from jobledger.jobs.json_text import readable
from jobledger.models import RunOutput, Stream

CHUNK_BYTES = 64 * 1024
# Short lines are combined: a million pieces would need more memory than their texts.
SMALL_PIECE_CHARACTERS = 1024
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive text from one stream."""

    stream: Stream
    text: str


class OutputRecorder:
    """Keeps at most ``limit_bytes`` of a run's output: half of it for the head, half for the tail."""

    def __init__(self, limit_bytes: int) -> None:
        self._head_left = limit_bytes // 2
        self._tail_limit = limit_bytes - self._head_left
        self._pending: list[Piece] = []
        self._tail: deque[Piece] = deque()
        self._tail_bytes = 0
        self._omitted_bytes = 0
        self._last_line = ""
        self._last_error_line = ""
        self._partial_lines = dict.fromkeys(Stream, "")
        self._lock = threading.Lock()

    @property
    def last_line(self) -> str:
        """The last line that is not blank, truncated to 500 characters."""
        with self._lock:
            return self._last_line[:500]

    @property
    def last_error_line(self) -> str:
        """The same for stderr only."""
        with self._lock:
            return self._last_error_line[:500]

    def write(self, stream: Stream, text: str) -> None:
        """Record text. Accepts any text."""
        text = readable(text)
        with self._lock:
            self._remember_line(stream, text)
            head = _cut(text, self._head_left)
            if head:
                self._head_left -= _size(head)
                self._pending.append(Piece(stream=stream, text=head))
            if len(head) < len(text):
                self._head_left = 0
                self._keep_tail(stream, text[len(head) :])

    def drain(self) -> list[Piece]:
        """The pieces of the head since the last call; adjacent pieces of the same stream are joined."""
        with self._lock:
            pending, self._pending = self._pending, []
        return _joined(pending)

    def finish(self) -> list[Piece]:
        """The rest of the head, the line that says how much was omitted, and the tail."""
        pieces = self.drain()
        with self._lock:
            self._cut_tail()
            tail = [piece for piece in self._tail if piece.text]
            self._tail.clear()
            self._tail_bytes = 0
            if self._omitted_bytes:
                note = f"\n[… {self._omitted_bytes:,} bytes omitted …]\n"
                pieces.append(Piece(stream=Stream.STDOUT, text=note))
                self._omitted_bytes = 0
        return pieces + _joined(tail)

    def _remember_line(self, stream: Stream, text: str) -> None:
        # Django's styled lines end with an escape sequence after the line break: it is not a line of its own.
        end = (self._partial_lines[stream] + text)[-4096:]
        lines = (COLOUR.sub("", end) if "\x1b" in end else end).split("\n")
        self._partial_lines[stream] = lines[-1]
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if last and stream is Stream.STDERR:
            self._last_error_line = last
        self._last_line = last or self._last_line

    def _keep_tail(self, stream: Stream, text: str) -> None:
        for start in range(0, len(text), CHUNK_BYTES):
            self._append(stream, text[start : start + CHUNK_BYTES])
            self._drop_oldest()

    def _append(self, stream: Stream, text: str) -> None:
        self._tail_bytes += _size(text)
        last = self._tail[-1] if self._tail else None
        if last is not None and last.stream is stream and len(last.text) < SMALL_PIECE_CHARACTERS:
            self._tail[-1] = Piece(stream=stream, text=last.text + text)
        else:
            self._tail.append(Piece(stream=stream, text=text))

    def _drop_oldest(self) -> None:
        """Drop the oldest pieces that are not needed at all: trimming each to size would be too slow."""
        while self._tail_bytes - (oldest := _size(self._tail[0].text)) >= self._tail_limit:
            self._tail.popleft()
            self._tail_bytes -= oldest
            self._omitted_bytes += oldest
            if not self._tail:
                return

    def _cut_tail(self) -> None:
        if self._tail_bytes <= self._tail_limit:
            return
        oldest = self._tail.popleft()
        kept = _cut_front(oldest.text, self._tail_bytes - self._tail_limit)
        self._omitted_bytes += _size(oldest.text) - _size(kept)
        self._tail.appendleft(Piece(stream=oldest.stream, text=kept))


class Tee:
    """A text stream that records everything and passes it on to another stream, if there is one.

    It is a terminal if the other stream is, so that jobs use colours just as they would without recording.
    """

    def __init__(self, recorder: OutputRecorder, stream: Stream, passed_on: IO[str] | None = None) -> None:
        """Record as ``stream``, and pass on to ``passed_on``."""
        self._recorder = recorder
        self._stream = stream
        self.passed_on = passed_on

    def write(self, text: str) -> int:
        """Pass on, then record: what could not be passed on is not recorded."""
        if self.passed_on is not None:
            self.passed_on.write(text)
        self._recorder.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        if self.passed_on is not None and hasattr(self.passed_on, "flush"):
            self.passed_on.flush()

    def isatty(self) -> bool:
        return self.passed_on is not None and hasattr(self.passed_on, "isatty") and self.passed_on.isatty()

    def writable(self) -> bool:
        return True


def save(run_id: UUID, attempt: int, first_number: int, pieces: Sequence[Piece]) -> int:
    """Append the pieces to the run's output, numbered from ``first_number``; returns the next number."""
    rows = [
        RunOutput(run_id=run_id, attempt=attempt, number=number, stream=piece.stream, text=piece.text)
        for number, piece in enumerate(pieces, start=first_number)
    ]
    # After a connection failure, pieces may have been saved even though the call failed.
    RunOutput.objects.bulk_create(rows, ignore_conflicts=True)
    return first_number + len(rows)


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Join adjacent pieces of the same stream, up to about a chunk's size each."""
    groups: list[tuple[Stream, list[str]]] = []
    size = 0
    for piece in pieces:
        if not groups or groups[-1][0] is not piece.stream or size >= CHUNK_BYTES:
            groups.append((piece.stream, []))
            size = 0
        groups[-1][1].append(piece.text)
        size += len(piece.text)
    return [Piece(stream=stream, text="".join(texts)) for stream, texts in groups]


def _cut(text: str, limit_bytes: int) -> str:
    """The longest prefix of the text that takes at most ``limit_bytes`` in UTF-8."""
    if limit_bytes <= 0:
        return ""
    if text.isascii():
        return text[:limit_bytes]
    return text.encode()[:limit_bytes].decode(errors="ignore")


def _cut_front(text: str, drop_bytes: int) -> str:
    """The text without its first ``drop_bytes`` bytes in UTF-8, without any character that this splits."""
    if text.isascii():
        return text[drop_bytes:]
    return text.encode()[drop_bytes:].decode(errors="ignore")


def _size(text: str) -> int:
    """In bytes, as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
