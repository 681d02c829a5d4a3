"""Output of the operator's subcommands: formats times and lines, and copes with closed pipes."""

import json
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError, OutputWrapper

from jobledger.escapes import encodable, escaped, escaped_json, escaped_output

_ONE_LINE = str.maketrans("\t\r\n", "   ")


class OutputError(CommandError):
    """The output cannot be written. What the command does may be done."""


def write_lines(stdout: OutputWrapper, lines: Iterable[str]) -> bool:
    """Write the lines; returns False if the reader, such as ``head``, has closed the pipe.

    Terminal control sequences are escaped, except the colours of tables and of jobs' output. Raises
    OutputError if they cannot be written.
    """
    try:
        for line in lines:
            stdout.write(encodable(escaped_output(line), stdout))
        stdout.flush()
    except OSError as error:
        if isinstance(lines, Generator):
            # What is left of a query, before its connection.
            lines.close()
        pass_over(stdout, error)
        return False
    return True


def write_exactly(stdout: OutputWrapper, text: str) -> None:
    """Write a file's content, whatever the terminal's encoding; lone surrogates stand for bytes.

    The reader may have closed the pipe. Raises OutputError if it cannot be written.
    """
    try:
        stdout.flush()
        if (buffer := getattr(stdout, "buffer", None)) is None:
            stdout.write(text, ending="")
            return
        buffer.write(text.encode("utf-8", "surrogateescape"))
        buffer.flush()
    except OSError as error:
        pass_over(stdout, error)


def pass_over(stream: OutputWrapper, error: OSError) -> None:
    """Write no more. Raises OutputError for any error, such as a full disk, but a pipe without a reader."""
    discard(stream)
    if not isinstance(error, BrokenPipeError):
        raise OutputError(f"The output cannot be written: {error.strerror}") from error


def tab_separated(*cells: str) -> str:
    """A single line, whatever the cells contain."""
    return "\t".join(escaped(cell.translate(_ONE_LINE)) for cell in cells)


def iso_time(time: datetime, zone: ZoneInfo) -> str:
    """Format as ISO 8601 with the zone's offset."""
    return time.astimezone(zone).isoformat()


def json_text(value: Any, *, indent: int | None = None) -> str:
    return escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))


def json_lines(objects: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a JSON list with one object per line, without holding it in memory as a whole."""
    texts = (json_text(each) for each in objects)
    before, text = "[", next(texts, "")
    for following in texts:
        yield f"{before}{text},"
        before, text = " ", following
    yield f"{before}{text}]"


def discard(stdout: OutputWrapper) -> None:
    """Redirect to devnull what is still buffered; otherwise the interpreter would complain on exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stdout.fileno())
    os.close(devnull)
