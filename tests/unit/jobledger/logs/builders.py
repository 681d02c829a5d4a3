"""Records, as loggers make them."""

import io
import json
import logging
import sys
from typing import Any

from jobledger.logs import formatter
from jobledger.logs.running import LoggedRun

RUN = LoggedRun(
    job="nightly",
    run_id="0192f0c1-0000-7000-8000-000000000001",
    attempt=2,
    schedule="every night",
    trigger="schedule",
)


def record(
    text: Any, *args: object, name: str = "shop", error: bool = False, **extra: Any
) -> logging.LogRecord:
    exc_info = sys.exc_info() if error else None
    return logging.getLogger(name).makeRecord(
        name, logging.WARNING, __file__, 1, text, args, exc_info, extra=extra
    )


def as_json(text: Any, *args: object, **options: Any) -> dict[str, Any]:
    """The fields of the line, which is one."""
    line = formatter("json").format(record(text, *args, **options))
    assert len(line.splitlines()) == 1
    assert line.isascii()
    fields: dict[str, Any] = json.loads(line, parse_constant=lambda name: f"invalid: {name}")
    return fields


def as_text(text: Any, *args: object, color: bool = False, **options: Any) -> str:
    return formatter("text", color=color).format(record(text, *args, **options))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True
