"""Splits chunks of output into lines. The result is the same whether it is read at once or in several steps.

A ``ReadPosition`` is where the next step continues: at the beginning of the line that is still open, with the
current styles of both streams. It is part of a page's URL, as short text. An open line ends when the other
stream writes. A carriage return restarts the line, so only the latest state of a progress bar is kept. Very
long lines are split.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from django.utils.safestring import SafeString

from jobledger.admin.runs.output import ansi
from jobledger.escapes import without_escape_sequences
from jobledger.models import Stream

MAX_LINE_LENGTH = 4000

# Nine digits, as larger numbers could exceed the range of database integers.
_POSITION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.([a-z0-9-]{0,99})\.([a-z0-9-]{0,99})", re.ASCII)
_TOKEN = re.compile(r"[^\r\n]+|\r*\n|\r+")
_LONG_TEXT = re.compile(rf"[^\r\n]{{{MAX_LINE_LENGTH + 1},}}")
# Control pictures. ESC is excluded, as escape sequences are parsed, and so is the tab, which is white space.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f]")
_CONTROL_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\x1b"} | {127: 0x2421}


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk of output, as it is stored."""

    attempt: int
    number: int
    stream: Stream
    text: str
    begin: int = 0
    """How many characters at the beginning of the stored text are omitted."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line as shown on the page."""

    stream: Stream
    attempt: int
    parts: tuple[ansi.StyledText, ...]
    begins_attempt: bool = False
    """Whether this is the first line of a later attempt."""

    @property
    def text(self) -> str:
        """The line without styles."""
        return "".join(part.text for part in self.parts)

    @property
    def is_error(self) -> bool:
        return self.stream is Stream.STDERR

    @property
    def html(self) -> SafeString:
        """The line with styles, escaped."""
        return ansi.as_html(self.parts)


@dataclass(frozen=True, kw_only=True)
class ReadPosition:
    """Where to continue reading."""

    attempt: int
    number: int = 0
    offset: int = 0
    styles: Mapping[Stream, ansi.Style] = field(default_factory=dict)

    @property
    def is_beginning(self) -> bool:
        """Whether this is the beginning of an attempt's output."""
        return not (self.number or self.offset)

    def __str__(self) -> str:
        tokens = [self.styles.get(stream, ansi.PLAIN).token for stream in Stream]
        return ".".join([str(self.attempt), str(self.number), str(self.offset), *tokens])

    @classmethod
    def read(cls, text: str) -> "ReadPosition | None":
        """Parses a formatted position; returns None if it is invalid."""
        match = _POSITION.fullmatch(text)
        if match is None:
            return None
        attempt, number, offset = (int(figure) for figure in match.group(1, 2, 3))
        styles = dict(zip(Stream, map(ansi.parse_token, match.group(4, 5)), strict=True))
        return cls(attempt=attempt, number=number, offset=offset, styles=styles)


@dataclass(frozen=True, kw_only=True)
class _Fragment:
    """A part of the open line, with its position."""

    number: int
    offset: int
    text: str


class LineReader:
    """Reads chunks in order and yields complete lines."""

    def __init__(self, begin: ReadPosition, *, is_styled: bool = True) -> None:
        """The first chunk must be the one at the position, or a later one.

        Lines without styles are read several times faster, but nothing can continue from their position.
        """
        self._attempt, self._number, self._offset = begin.attempt, begin.number, begin.offset
        self._styles = {stream: begin.styles.get(stream, ansi.PLAIN) for stream in Stream}
        self._is_styled = is_styled
        self._open: list[_Fragment] = []
        self._open_length = 0
        self._stream = Stream.STDOUT
        self._is_overwritten = False
        self._before_attempt: ReadPosition | None = None

    def read(self, chunks: Iterable[Chunk]) -> Iterator[Line]:
        """The lines that these chunks complete."""
        for chunk in chunks:
            if self._open and (chunk.stream, chunk.attempt) != (self._stream, self._attempt):
                yield self._close()
            self._stream = chunk.stream
            self._seek(chunk)
            yield from self._read_chunk(chunk)

    @property
    def open_line(self) -> Line | None:
        """The last line, if it is not complete yet."""
        return self._line() if self._open else None

    @property
    def position(self) -> ReadPosition:
        """Where to continue reading: at the beginning of the open line, or at the end."""
        if self._before_attempt is not None:
            return self._before_attempt
        first = self._open[0] if self._open else None
        return ReadPosition(
            attempt=self._attempt,
            number=first.number if first else self._number,
            offset=first.offset if first else self._offset,
            styles=dict(self._styles),
        )

    def _seek(self, chunk: Chunk) -> None:
        if chunk.attempt != self._attempt:
            self._before_attempt = self.position
            self._attempt, self._styles = chunk.attempt, dict.fromkeys(Stream, ansi.PLAIN)
            self._number = self._offset = 0
        if chunk.number != self._number:
            self._number, self._offset = chunk.number, 0

    def _read_chunk(self, chunk: Chunk) -> Iterator[Line]:
        text, position = chunk.text, max(self._offset - chunk.begin, 0)
        while token := _TOKEN.match(text, position):
            self._offset, found, position = chunk.begin + position, token[0], token.end()
            if found[-1] == "\n":
                yield self._close()
            elif found[0] != "\r":
                self._add(found)
                while self._open_length > MAX_LINE_LENGTH:
                    yield self._close_beginning()
            elif self._open:
                self._is_overwritten = True
                position = self._skip_overwritten(text, position)
        self._number, self._offset = chunk.number + 1, 0

    def _add(self, text: str) -> None:
        if self._is_overwritten:
            self._clear()
        self._open.append(_Fragment(number=self._number, offset=self._offset, text=text))
        self._open_length += len(text)

    def _skip_overwritten(self, text: str, begin: int) -> int:
        """Skip what is overwritten in its turn, which may be a million texts; returns where to continue.

        Stops at a text that is longer than a line, whose beginning becomes a line before it is overwritten.
        """
        end = text.find("\n", begin)
        rest = text[begin : None if end < 0 else end]
        skipped = rest[: rest.rstrip("\r").rfind("\r") + 1]
        if long := _LONG_TEXT.search(skipped):
            skipped = skipped[: long.start()]
        if skipped:
            self._clear()
            self._apply_styles(skipped)
        return begin + len(skipped)

    def _close(self) -> Line:
        line = self._line()
        self._clear()
        self._before_attempt = None
        return line

    def _close_beginning(self) -> Line:
        """Close the first part of a line that is too long. Avoids splitting an escape sequence."""
        *whole, last = self._open
        room = MAX_LINE_LENGTH - (self._open_length - len(last.text))
        escape = last.text.rfind("\x1b", max(room - 32, 1), room)
        cut = escape if escape > 0 else room
        self._open = [*whole, replace(last, text=last.text[:cut])]
        line = self._close()
        self._open = [replace(last, offset=last.offset + cut, text=last.text[cut:])]
        self._open_length = len(self._open[0].text)
        return line

    def _line(self) -> Line:
        text = "".join(part.text for part in self._open)
        return Line(
            stream=self._stream,
            attempt=self._attempt,
            parts=tuple(self._parts(text)) if text else (),
            begins_attempt=self._before_attempt is not None,
        )

    def _parts(self, text: str) -> list[ansi.StyledText]:
        # Escape sequences come first, because they contain control characters.
        if self._is_styled:
            parts, _ = ansi.parse_escapes(text, self._styles[self._stream])
        else:
            parts = [ansi.StyledText(text=without_escape_sequences(text), style=ansi.PLAIN)]
        if _CONTROL.search(text) is None:
            return parts
        return [replace(part, text=part.text.translate(_CONTROL_PICTURES)) for part in parts]

    def _clear(self) -> None:
        self._apply_styles("".join(part.text for part in self._open))
        self._open, self._open_length, self._is_overwritten = [], 0, False

    def _apply_styles(self, text: str) -> None:
        if self._is_styled:
            self._styles[self._stream] = ansi.style_after(text, self._styles[self._stream])
