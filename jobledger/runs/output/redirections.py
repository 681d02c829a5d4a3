"""``redirect_stdout`` and ``redirect_stderr`` of contextlib, in a process that executes many runs at a time.

By themselves, they replace a stream of the whole process: what all other runs write would go there, too, and
of two that overlap, the one that leaves last would put the other's target back for good. Here, they redirect
only what the code in the block writes, with the threads and asyncio tasks that it starts there, whose
contexts are copies. Python has no hook for that, so their methods are replaced, only in such a process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any

from jobledger.models import Stream
from jobledger.runs.output.contextlib_internals import target_of
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.output.streams import RunStream

_KINDS: dict[Stream, type[Any]] = {Stream.STDOUT: redirect_stdout, Stream.STDERR: redirect_stderr}
_METHODS = [
    (kind, name, getattr(kind, name)) for kind in _KINDS.values() for name in ("__enter__", "__exit__")
]
_exit: Callable[..., None] = redirect_stdout.__exit__


@dataclass(frozen=True, kw_only=True)
class _Redirection:
    """A block that this context is in."""

    block: Any
    stream: Stream
    target: Any


_entered: ContextVar[tuple[_Redirection, ...]] = ContextVar("redirections", default=())


class _Target:
    """Where a redirected stream leads to.

    While one of its methods is executed, the stream leads to where it did before: a target may pass on what
    it gets to the ``sys.stdout`` that it has found.
    """

    def __init__(self, target: Any, before: tuple[_Redirection, ...]) -> None:
        self._target, self._before = target, before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        token = _entered.set(self._before)
        try:
            return method(*args, **options)
        finally:
            _entered.reset(token)


def begin() -> None:
    """From now on, they redirect only what is written in their own context."""
    for stream, kind in _KINDS.items():
        kind.__enter__ = _entering(stream)
        kind.__exit__ = _leave


def end() -> None:
    """Undo ``begin``."""
    for kind, name, method in _METHODS:
        setattr(kind, name, method)


def current(stream: Stream) -> Any:
    """Where the calling code has redirected this stream to; None if it has not."""
    entered = _entered.get()
    for number in reversed(range(len(entered))):
        if entered[number].stream is stream:
            return _Target(entered[number].target, entered[:number])
    return None


@contextmanager
def none() -> Iterator[None]:
    """The block begins with nothing redirected."""
    token = _entered.set(())
    try:
        yield
    finally:
        _entered.reset(token)


def _entering(stream: Stream) -> Callable[[Any], Any]:
    def enter(block: Any) -> Any:
        target = target_of(block)
        # With None, what is written is dropped.
        leads_to = RunStream(OutputRecorder(0), stream) if target is None else target
        _entered.set((*_entered.get(), _Redirection(block=block, stream=stream, target=leads_to)))
        return target

    return enter


def _leave(
    block: Any, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> None:
    entered = _entered.get()
    for number in reversed(range(len(entered))):
        if entered[number].block is block:
            _entered.set(entered[:number] + entered[number + 1 :])
            return
    # It was entered before `begin`; or in another context, which nothing can be changed in from here.
    with suppress(IndexError):
        _exit(block, kind, error, trace)
