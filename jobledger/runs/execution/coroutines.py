"""Lets a command's ``handle`` be a coroutine function, which Django would neither await nor reject clearly.

The event loop runs in a thread of its own. What the coroutine calls through Django's asynchronous methods and
``sync_to_async`` runs in this one, and so uses the same database connection as any other job.

A cancel, a time limit, Ctrl-C and SIGTERM cancel the coroutine, so that its ``finally`` blocks run in its own
loop. Their exception is raised afterwards.
"""

import asyncio
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from asgiref.sync import AsyncSingleThreadContext, async_to_sync
from django.core.management.base import BaseCommand

from jobledger.runs.lease.interrupts import SIGNAL

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, SIGNAL)
_NOTHING_RAN = "handle() contains `yield`, so calling it does not run it. Remove the yield."


@contextmanager
def awaited(command: BaseCommand) -> Iterator[None]:
    """In the block, the command's ``handle`` returns what the coroutine returns."""
    handle, before = command.handle, vars(command).get("handle")

    def handle_to_its_end(*args: Any, **options: Any) -> Any:
        result: object = handle(*args, **options)
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError(_NOTHING_RAN)
        return _run(result) if inspect.isawaitable(result) else result

    vars(command)["handle"] = handle_to_its_end
    try:
        yield
    finally:
        if before is None:
            del vars(command)["handle"]
        else:
            vars(command)["handle"] = before


def _run(awaitable: Awaitable[Any]) -> Any:
    cancellation = _Cancellation()
    # The context ends the loop's thread, even while the traceback of an error refers to it.
    with cancellation.by_signals(), AsyncSingleThreadContext():  # type: ignore[no-untyped-call]
        return async_to_sync(cancellation.supervise)(awaitable)


class _Cancellation:
    """Cancels a coroutine that runs in another thread, once."""

    def __init__(self) -> None:
        self._is_requested = threading.Event()
        self._cancel: Callable[[], object] | None = None
        self._signals: list[tuple[Callable[..., Any], int]] = []

    async def supervise(self, awaitable: Awaitable[Any]) -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101 - it is this coroutine's
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        # Set before the signal handler could see how to cancel.
        if self._is_requested.is_set():
            task.cancel()
        return await awaitable

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """In the block, signals that would end the job cancel it; their handlers are called at the end."""
        previous = self._replace_handlers()
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            for handler, number in self._signals:
                handler(number, None)

    def _replace_handlers(self) -> dict[int, Callable[..., Any]]:
        if threading.current_thread() is not threading.main_thread():
            return {}
        previous: dict[int, Callable[..., Any]] = {}
        for number in _ENDING_SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                previous[number] = handler
                signal.signal(number, self._defer(handler))
        return previous

    def _defer(self, handler: Callable[..., Any]) -> Callable[[int, FrameType | None], None]:
        def cancel_first(number: int, frame: FrameType | None) -> None:
            if self._is_requested.is_set():
                return  # the service repeats its signal, but a second cancel would end the cleanup
            self._signals.append((handler, number))
            self._is_requested.set()
            if self._cancel is not None:
                self._cancel()

        return cancel_first
