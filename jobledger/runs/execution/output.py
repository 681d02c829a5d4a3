"""Captures what a run writes: stdout and stderr told apart, bounded, in chunks.

An ``OutputRecorder`` takes text from any thread and keeps it until it is drained. The first half of
the limit is the output's head and is handed out as it comes; after that only the tail is kept, and
``finish`` hands it out behind a line that says how much lies between them. So a job that prints
a gigabyte costs memory and rows of one limit.

``Tee`` is the stream that a command writes to: it passes on to the terminal and records.
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
# Short lines are kept together: a million pieces would take more room than their texts.
SMALL_PIECE_CHARACTERS = 1024
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Consecutive text of one stream."""

    stream: Stream
    text: str


class OutputRecorder:
    """Keeps one run's output, at most ``limit_bytes`` of it: its head and its tail."""

    def __init__(self, limit_bytes: int) -> None:
        """Half the limit is for the head, half for the tail."""
        self._head_left = limit_bytes // 2
        self._tail_limit = limit_bytes - self._head_left
        self._pending: list[Piece] = []
        self._tail: deque[Piece] = deque()
        self._tail_bytes = 0
        self._left_out_bytes = 0
        self._last_line = ""
        self._last_error_line = ""
        self._open_lines = dict.fromkeys(Stream, "")
        self._lock = threading.Lock()

    @property
    def last_line(self) -> str:
        """The last line that is not blank, shortened to 500 characters."""
        with self._lock:
            return self._last_line[:500]

    @property
    def last_error_line(self) -> str:
        """The same of stderr alone."""
        with self._lock:
            return self._last_error_line[:500]

    def write(self, stream: Stream, text: str) -> None:
        """Record text. Never fails on what the text is."""
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
        """The head's pieces since the last call, neighbours of one stream joined."""
        with self._lock:
            pending, self._pending = self._pending, []
        return _joined(pending)

    def finish(self) -> list[Piece]:
        """What is left at the end: the head's rest, the line about what was left out, the tail."""
        pieces = self.drain()
        with self._lock:
            self._cut_tail()
            tail = [piece for piece in self._tail if piece.text]
            self._tail.clear()
            self._tail_bytes = 0
            if self._left_out_bytes:
                note = f"\n[… {self._left_out_bytes:,} bytes left out here …]\n"
                pieces.append(Piece(stream=Stream.STDOUT, text=note))
                self._left_out_bytes = 0
        return pieces + _joined(tail)

    def _remember_line(self, stream: Stream, text: str) -> None:
        # Django ends a styled line with the code that ends the style: by itself no line to remember.
        end = (self._open_lines[stream] + text)[-4096:]
        lines = (COLOUR.sub("", end) if "\x1b" in end else end).split("\n")
        self._open_lines[stream] = lines[-1]
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if last and stream is Stream.STDERR:
            self._last_error_line = last
        self._last_line = last or self._last_line

    def _keep_tail(self, stream: Stream, text: str) -> None:
        for start in range(0, len(text), CHUNK_BYTES):
            self._append(stream, text[start : start + CHUNK_BYTES])
            self._shed()

    def _append(self, stream: Stream, text: str) -> None:
        self._tail_bytes += _size(text)
        last = self._tail[-1] if self._tail else None
        if last is not None and last.stream is stream and len(last.text) < SMALL_PIECE_CHARACTERS:
            self._tail[-1] = Piece(stream=stream, text=last.text + text)
        else:
            self._tail.append(Piece(stream=stream, text=text))

    def _shed(self) -> None:
        """Drop the oldest pieces that are not needed at all: to cut each to measure would cost too much."""
        while self._tail_bytes - (oldest := _size(self._tail[0].text)) >= self._tail_limit:
            self._tail.popleft()
            self._tail_bytes -= oldest
            self._left_out_bytes += oldest
            if not self._tail:
                return

    def _cut_tail(self) -> None:
        if self._tail_bytes <= self._tail_limit:
            return
        oldest = self._tail.popleft()
        kept = _cut_front(oldest.text, self._tail_bytes - self._tail_limit)
        self._left_out_bytes += _size(oldest.text) - _size(kept)
        self._tail.appendleft(Piece(stream=oldest.stream, text=kept))


class Tee:
    """A text stream that passes everything on to another, if there is one, and records it.

    It is a terminal when the other one is, so that colours are decided as without recording.
    """

    def __init__(self, recorder: OutputRecorder, stream: Stream, passed_on: IO[str] | None = None) -> None:
        """Record as ``stream``; ``passed_on`` is the terminal, the file or the buffer behind."""
        self._recorder = recorder
        self._stream = stream
        self.passed_on = passed_on

    def write(self, text: str) -> int:
        """Pass on, then record: what the terminal refused is not recorded."""
        if self.passed_on is not None:
            self.passed_on.write(text)
        self._recorder.write(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream behind."""
        if self.passed_on is not None and hasattr(self.passed_on, "flush"):
            self.passed_on.flush()

    def isatty(self) -> bool:
        """Whether the stream behind is a terminal."""
        return self.passed_on is not None and hasattr(self.passed_on, "isatty") and self.passed_on.isatty()

    def writable(self) -> bool:
        """Always."""
        return True


def save(run_id: UUID, attempt: int, first_number: int, pieces: Sequence[Piece]) -> int:
    """Append the pieces to the run's output, numbered from ``first_number``; returns the next number."""
    rows = [
        RunOutput(run_id=run_id, attempt=attempt, number=number, stream=piece.stream, text=piece.text)
        for number, piece in enumerate(pieces, start=first_number)
    ]
    # What was written, although the database's answer got lost, is there already.
    RunOutput.objects.bulk_create(rows, ignore_conflicts=True)
    return first_number + len(rows)


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbours of one stream made into one, up to about a chunk's size each."""
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
    """The longest beginning of the text that takes at most so many bytes in UTF-8."""
    if limit_bytes <= 0:
        return ""
    if text.isascii():
        return text[:limit_bytes]
    return text.encode()[:limit_bytes].decode(errors="ignore")


def _cut_front(text: str, drop_bytes: int) -> str:
    """The text without at least its first ``drop_bytes`` bytes in UTF-8."""
    if text.isascii():
        return text[drop_bytes:]
    return text.encode()[drop_bytes:].decode(errors="ignore")


def _size(text: str) -> int:
    """How many bytes it takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
