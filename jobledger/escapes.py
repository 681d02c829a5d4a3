"""Escapes control characters, for example as ``\\x1b``.

Names and errors come from users, jobs and messages. In a terminal, control characters could change the
window's title or hide output; in a log, a line break could forge an entry; and a lone surrogate cannot be
written at all.
"""

import codecs
import json
import logging
import re
from collections.abc import MutableMapping
from typing import Any, TextIO

# Including those that reverse the direction of a line, non-ASCII line endings, and what XML may not contain.
_CONTROL = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff"
_ANY = re.compile(f"[{_CONTROL}]")
_BUT_LINES = re.compile(f"(?![\n\t])[{_CONTROL}]")
# Colours, and the carriage return of a progress bar.
_BUT_OUTPUT = re.compile(rf"(?![\n\t\r]|\x1b\[[0-9;:]*m)[{_CONTROL}]")

_UNSUPPORTED = "jobledger.unsupported"
"""The name of our handler among those of Python's codecs."""

# Of a terminal, even if it is cut off at the end of the text.
ESCAPE_SEQUENCE = re.compile(
    r"""
    \x1b\[ (?P<parameters>[0-?]*) [ -/]* (?P<final>[@-~]?)     # CSI; it is SGR if the final byte is m
    | \x1b[\]PX^_] [^\x07\x1b\n]* (?: \x07 | \x1b\\ )?         # strings: titles, links
    | \x1b [ -/]* [0-Z\\^-~]?                                  # any other, and a lone ESC
    """,
    re.VERBOSE,
)


def escaped(text: str) -> str:
    """Escape all control characters, so that the text is a single line."""
    return _ANY.sub(_escape, text)


def escaped_lines(text: str) -> str:
    """Escape all control characters except line breaks and tabs."""
    return _BUT_LINES.sub(_escape, text)


def escaped_output(text: str) -> str:
    """Escape a job's output for a terminal, except colours and progress bars."""
    return _BUT_OUTPUT.sub(_escape, text)


def escaped_json(text: str) -> str:
    """Escape control characters in JSON without changing its meaning."""
    return _BUT_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_escape_sequences(text: str) -> str:
    return ESCAPE_SEQUENCE.sub("", text) if "\x1b" in text else text


def encodable(text: str, stream: TextIO | Any) -> str:
    """Escape the characters that the stream's encoding does not support, as JSON does: it may be JSON."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, _UNSUPPORTED).decode(encoding)


def _escape_unsupported(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(_UNSUPPORTED, _escape_unsupported)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


class LineLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs a single line per call: arguments are escaped."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Tracebacks of exceptions keep their lines."""
        if self.isEnabledFor(level):
            # There is one more stack frame than the logger expects.
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            super().log(level, msg, *map(_loggable, args), **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


def line_logger(name: str) -> LineLogger:
    return LineLogger(logging.getLogger(name), {})


class LineFormatter(logging.Formatter):
    """For a project's ``LOGGING``: escapes the messages of all libraries, too.

    Tracebacks keep their lines, but are indented, so that no line of one looks like a log entry.
    """

    def format(self, record: logging.LogRecord) -> str:
        # What formatters cache for each other is not indented, and that of this one is for its own log.
        cached = record.exc_text
        if record.exc_info:
            record.exc_text = None
        try:
            return super().format(record)
        finally:
            record.exc_text = cached

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        return _indented(super().formatStack(stack_info))


def _indented(traceback: str) -> str:
    return "\n".join(f"  {line}" for line in escaped_lines(traceback).split("\n"))


def _loggable(value: object) -> object:
    return value if isinstance(value, int | float) else escaped(str(value))
