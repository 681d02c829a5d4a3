"""Characters that control what reads a text, escaped: ``\\x1b`` instead of what moves a terminal's cursor.

Names and errors come from users, jobs and messages. In a terminal their control characters would retitle the
window or hide what was printed; in a log, a line break begins a line that nobody wrote; and half of a
character (a lone surrogate) cannot be written at all.
"""

import logging
import re
from collections.abc import MutableMapping
from typing import Any, TextIO

# Also those that reverse the direction of a line, and line ends that are not ASCII.
_CONTROL = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_ANY = re.compile(f"[{_CONTROL}]")
_BUT_LINES = re.compile(f"(?![\n\t])[{_CONTROL}]")
# Colours, and the carriage return of a progress bar.
_BUT_OUTPUT = re.compile(rf"(?![\n\t\r]|\x1b\[[0-9;:]*m)[{_CONTROL}]")


def escaped(text: str) -> str:
    """One line, whatever the text is."""
    return _ANY.sub(_escape, text)


def escaped_lines(text: str) -> str:
    """The same with its line breaks and tabs."""
    return _BUT_LINES.sub(_escape, text)


def escaped_output(text: str) -> str:
    """What a job wrote, for a terminal: colours and progress bars stay as they are."""
    return _BUT_OUTPUT.sub(_escape, text)


def escaped_json(text: str) -> str:
    """JSON that means the same."""
    return _BUT_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encodable(text: str, stream: TextIO | Any) -> str:
    """The text with escapes in place of what the stream's encoding does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


class LineLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs one line for each call: what is formatted into the message is escaped."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As a logger does; the traceback of an exception keeps its lines."""
        if self.isEnabledFor(level):
            # The caller is one step further away than a logger expects.
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            super().log(level, msg, *map(_loggable, args), **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


def line_logger(name: str) -> LineLogger:
    """The logger of a module."""
    return LineLogger(logging.getLogger(name), {})


class LineFormatter(logging.Formatter):
    """For a project's ``LOGGING``: no message of any library begins a line that nobody wrote."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = escaped(record.message)
        return super().formatMessage(record)


def _loggable(value: object) -> object:
    return value if isinstance(value, int | float) else escaped(str(value))
