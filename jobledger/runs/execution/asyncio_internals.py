"""The private parts of asyncio that this package uses. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Python release changes any of them.
"""

import asyncio
from typing import Any

_events: Any = asyncio.events


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that is running in this thread, if any."""
    return asyncio._get_running_loop()  # noqa: SLF001 - the public function raises an exception without one


def set_running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Have this thread consider the loop as running in it."""
    asyncio._set_running_loop(loop)  # noqa: SLF001 - nothing public ends what never returns to its loop


def event_loop_policy() -> tuple[Any, dict[str, Any]]:
    """The event loop policy, if there is one yet, and the loop that it has set for this thread."""
    policy = _events._event_loop_policy  # noqa: SLF001 - the public function creates one
    return policy, dict(vars(local)) if (local := getattr(policy, "_local", None)) is not None else {}


def restore_event_loop_policy(before: tuple[Any, dict[str, Any]]) -> None:
    """Without a policy, the next job gets a new loop, even if this one has closed its own."""
    policy, loop = before
    _events._event_loop_policy = policy  # noqa: SLF001 - the public function does not accept None
    if (local := getattr(policy, "_local", None)) is not None and vars(local) != loop:
        vars(local).clear()
        vars(local).update(loop)
