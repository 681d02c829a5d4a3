"""The private parts of asyncio that this package uses. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Python release changes any of them.
"""

import asyncio


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that is running in this thread, if any."""
    return asyncio._get_running_loop()  # noqa: SLF001 - the public function raises an exception without one


def set_running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """Have this thread consider the loop as running in it."""
    asyncio._set_running_loop(loop)  # noqa: SLF001 - nothing public ends what never returns to its loop
