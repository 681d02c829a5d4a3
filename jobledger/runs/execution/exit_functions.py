"""The functions that a job registers with ``atexit``: called at the end of its run, as at its process's end.

A worker's child executes other runs afterwards, and ends without calling them. Since they may have closed
what the job's modules keep for the whole process, such as a client, it is replaced.

What a module registers when it is imported, and what the standard library registers, stays registered: it
ends what may be used again.
"""

import atexit
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from jobledger.runs.processes import billiard_internals

_IMPORT = "<frozen importlib._bootstrap>"


@contextmanager
def called() -> Iterator[None]:
    """Call those that are registered in the block afterwards, the last one first.

    ``atexit`` lists nothing, so its functions are replaced; whoever has imported them keeps the originals. In
    any thread but the main one, the block is only executed: others might register them, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    registered = _Registered()
    own = registered.register, registered.unregister
    atexit.register, atexit.unregister = own
    try:
        yield
    finally:
        try:
            registered.call_all()
        finally:
            # Unless the job has replaced them as well.
            if (atexit.register, atexit.unregister) == own:
                atexit.register, atexit.unregister = registered.originals


@dataclass(kw_only=True)
class _Registered:
    pid: int = field(default_factory=os.getpid)
    originals: tuple[Any, Any] = field(default_factory=lambda: (atexit.register, atexit.unregister))
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def register(self, func: Any, /, *args: Any, **options: Any) -> Any:
        here = inspect.currentframe()
        if not callable(func) or os.getpid() != self.pid or _is_of_library(here and here.f_back):
            registered: Any = self.originals[0](func, *args, **options)
            return registered
        self.calls.append((func, args, options))
        return func

    def unregister(self, func: Callable[..., Any], /) -> None:
        self.calls[:] = [each for each in self.calls if each[0] != func]
        self.originals[1](func)

    def call_all(self) -> None:
        """In a process that the job has forked, do nothing. An interrupt is raised once all were called."""
        if os.getpid() != self.pid or not self.calls:
            return
        billiard_internals.exit_after_this_task()
        # They may register others.
        while self.calls:
            with ExitStack() as stack:
                for each in self.calls:
                    stack.callback(_call, *each)
                self.calls.clear()


def _call(func: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        func(*args, **options)
    except (Exception, SystemExit):  # noqa: BLE001 - as Python does
        sys.stderr.write(f"Exception ignored in atexit callback: {func!r}\n")
        traceback.print_exc()


def _is_of_library(caller: FrameType | None) -> bool:
    if caller and caller.f_globals.get("__name__", "").partition(".")[0] in sys.stdlib_module_names:
        return True
    frame = caller
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    return frame is not None
