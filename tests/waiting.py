"""Waits for other processes: for a condition, with a deadline, never for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.1
# What takes a second on a developer's machine takes long on a busy one. Only failures wait this long.
DEADLINE_SECONDS = 240.0


def wait_until(condition: Callable[[], T | None], *, what: str = "") -> T:
    """The condition's first true value. Raises TimeoutError, which names ``what``, after the timeout."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise TimeoutError(f"{name}: not within {DEADLINE_SECONDS:g} s; last: {value!r}")
        time.sleep(POLL_SECONDS)
