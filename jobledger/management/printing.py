"""Long answers of the operator's commands: written as they come, until nobody reads any more."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.core.management.base import OutputWrapper

_ONE_LINE = str.maketrans("\t\r\n", "   ")


def write_lines(stdout: OutputWrapper, lines: Iterable[str]) -> bool:
    """Write the lines; False as soon as the reader, such as ``head``, has closed its end of the pipe."""
    try:
        for line in lines:
            stdout.write(line)
        stdout.flush()
    except BrokenPipeError:
        _discard(stdout)
        return False
    return True


def tab_separated(*cells: str) -> str:
    """One line, whatever the cells hold."""
    return "\t".join(cell.translate(_ONE_LINE) for cell in cells)


def json_lines(objects: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON list, an object a line; it is never whole in memory."""
    texts = (json.dumps(each, ensure_ascii=False) for each in objects)
    before, text = "[", next(texts, "")
    for following in texts:
        yield f"{before}{text},"
        before, text = " ", following
    yield f"{before}{text}]"


def _discard(stdout: OutputWrapper) -> None:
    """What is still in the buffer goes nowhere; else the interpreter would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stdout.fileno())
    os.close(nowhere)
