"""Output of the operator's subcommands: formatted times and lines, written until nobody reads any more."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import OutputWrapper

from jobledger.escapes import encodable, escaped, escaped_json, escaped_output

_ONE_LINE = str.maketrans("\t\r\n", "   ")


def write_lines(stdout: OutputWrapper, lines: Iterable[str]) -> bool:
    """Write the lines; False as soon as the reader, such as ``head``, has closed its end of the pipe.

    What would control a terminal is escaped, but for the colours of a table or of what a job wrote.
    """
    try:
        for line in lines:
            stdout.write(encodable(escaped_output(line), stdout))
        stdout.flush()
    except BrokenPipeError:
        _discard(stdout)
        return False
    return True


def tab_separated(*cells: str) -> str:
    """One line, whatever the cells hold."""
    return "\t".join(escaped(cell.translate(_ONE_LINE)) for cell in cells)


def iso_time(time: datetime, zone: ZoneInfo) -> str:
    """ISO 8601 with the zone's offset."""
    return time.astimezone(zone).isoformat()


def json_text(value: Any, *, indent: int | None = None) -> str:
    return escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))


def json_lines(objects: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON list, an object a line; never held in memory as a whole."""
    texts = (json_text(each) for each in objects)
    before, text = "[", next(texts, "")
    for following in texts:
        yield f"{before}{text},"
        before, text = " ", following
    yield f"{before}{text}]"


def _discard(stdout: OutputWrapper) -> None:
    """Send what is still buffered to nowhere; else the interpreter would complain as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)
