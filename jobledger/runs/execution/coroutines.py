"""Lets a command's ``handle`` be a coroutine function, which Django would neither await nor reject clearly.

The event loop runs in a thread of its own. What the coroutine calls through Django's asynchronous methods and
``sync_to_async`` runs in this one, and so uses the same database connection as any other job.

A cancel, a time limit, Ctrl-C and SIGTERM cancel the coroutine, so that its ``finally`` blocks run in its own
loop. Their exception is raised afterwards. In a worker that executes jobs in threads, that is the only way to
end a job which waits: no signal reaches its thread.
"""

import asyncio
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from types import CodeType, FrameType
from typing import Any

from asgiref.sync import AsyncSingleThreadContext, async_to_sync
from django.core.management.base import AppCommand, BaseCommand, LabelCommand
from django.utils.functional import Promise

from jobledger.runs.lease import interrupts
from jobledger.runs.lease.interrupts import SIGNAL, JobInterrupt

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, SIGNAL)
_CALLERS = {
    "handle_label": LabelCommand.handle.__code__,
    "handle_app_config": AppCommand.handle.__code__,
}
"""Django's methods that call these, without awaiting them."""
_NO_TEXT = "{}() returned an object of type {}. Its result is output, so it must be a string or None."
_NOTHING_RAN = "{}() contains `yield`, so calling it does not run it. Remove the yield."


@contextmanager
def awaited(command: BaseCommand, *, rejects_results: bool = True) -> Iterator[None]:
    """In the block, the command's ``handle`` returns what the coroutine returns.

    So do the methods that ``LabelCommand`` and ``AppCommand`` call for each argument. With
    ``rejects_results``, a result that Django cannot output is an error that says so.
    """
    own, names = vars(command), ["handle", *(name for name in _CALLERS if hasattr(command, name))]
    before = {name: own.get(name) for name in names}
    own.update({name: _to_its_end(command, name, rejects_results=rejects_results) for name in names})
    try:
        yield
    finally:
        for name, method in before.items():
            if method is None:
                own.pop(name, None)
            else:
                own[name] = method


def _code_of_caller(frame: FrameType | None) -> CodeType | None:
    return frame.f_back.f_code if frame and frame.f_back else None


def _to_its_end(command: BaseCommand, name: str, *, rejects_results: bool) -> Callable[..., Any]:
    method: Callable[..., Any] = getattr(command, name)
    any_result = not rejects_results or command.output_transaction  # which formats it

    def called(*args: Any, **options: Any) -> Any:
        result: object = method(*args, **options)
        # A command's own `handle` can await it.
        if name in _CALLERS and _code_of_caller(inspect.currentframe()) is not _CALLERS[name]:
            return result
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError(_NOTHING_RAN.format(name))
        result = _run(result) if inspect.isawaitable(result) else result
        if result and not any_result and not isinstance(result, (str, Promise)):
            raise TypeError(_NO_TEXT.format(name, type(result).__name__))
        return result

    return called


def _run(awaitable: Awaitable[Any]) -> Any:
    cancellation = _Cancellation()
    # The context ends the loop's thread, even while the traceback of an error refers to it.
    with cancellation.by_interrupts(), cancellation.by_signals(), AsyncSingleThreadContext():  # type: ignore[no-untyped-call]
        return async_to_sync(cancellation.supervise)(awaitable)


class _Cancellation:
    """Cancels a coroutine that runs in another thread, once."""

    def __init__(self) -> None:
        self._is_requested = threading.Event()
        self._cancel: Callable[[], object] | None = None
        self._signals: list[tuple[Callable[..., Any], int]] = []
        self._interrupt: JobInterrupt | None = None

    async def supervise(self, awaitable: Awaitable[Any]) -> Any:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101 - it is this coroutine's
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        # Set before the signal handler could see how to cancel.
        if self._is_requested.is_set():
            task.cancel()
        return await awaitable

    @contextmanager
    def by_interrupts(self) -> Iterator[None]:
        """In the block, what would interrupt this thread cancels the coroutine, and is raised at the end."""
        interrupter = interrupts.of_this_thread()
        if interrupter is None or threading.current_thread() is threading.main_thread():
            yield
            return
        try:
            with interrupter.delivered_by(self._deliver):
                yield
        finally:
            if self._interrupt is not None:
                raise self._interrupt

    def _deliver(self, interrupt: JobInterrupt) -> None:
        """A second time, when the grace period of the job is over, the cleanup is cancelled as well."""
        self._interrupt = interrupt
        self._is_requested.set()
        if self._cancel is not None:
            # The loop may have ended meanwhile.
            with suppress(RuntimeError):
                self._cancel()

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
