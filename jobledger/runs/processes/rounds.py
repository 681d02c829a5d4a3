"""One thread that looks after many runs in turn, in a process that executes them in threads.

Elsewhere, each run has a thread of its own for that.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from jobledger.escapes import line_logger

logger = line_logger(__name__)

AFTER_ERROR_SECONDS = 1.0
MAX_WAIT_SECONDS = 60.0


class Member(Protocol):
    """Who is looked after."""

    def look(self) -> float:
        """Do what is due; returns in how many seconds to look again, at the latest."""
        ...


M = TypeVar("M", bound=Member)


@dataclass(kw_only=True)
class _Place:
    """What is known of a member."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    due: float = 0.0
    """When to look at it, in monotonic time."""
    is_removed: bool = False


class Rounds(Generic[M]):
    """Looks after its members, in a thread that is there as long as there are any."""

    def __init__(self, name: str, within: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        """``name`` is the thread's, all of whose work is done inside ``within()``."""
        self._name, self._within = name, within
        self._lock = threading.Lock()
        self._places: dict[M, _Place] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def members(self) -> list[M]:
        with self._lock:
            return list(self._places)

    def add(self, member: M) -> None:
        """Look at it now, and then as often as it says."""
        with self._lock:
            self._places[member] = _Place()
            if self._thread is None:
                self._thread = threading.Thread(target=self._go, name=self._name, daemon=True)
                # Not in the context of the run that happens to be the first.
                Context().run(self._thread.start)
        self._changed.set()

    def remove(self, member: M) -> None:
        """Look at it no more, and if it is being looked at now, wait for that."""
        with self._lock:
            place = self._places.pop(member, None)
        self._changed.set()
        if place is not None and threading.current_thread() is not self._thread:
            with place.lock:
                place.is_removed = True

    def look_now(self, member: M) -> None:
        """Look at it before its time."""
        with self._lock:
            if (place := self._places.get(member)) is not None:
                place.due = 0.0
        self._changed.set()

    def _go(self) -> None:
        with self._within():
            while places := self._next_round():
                for member, place in places:
                    if place.due <= time.monotonic():
                        self._look(member, place)
                left = min(place.due for _, place in places) - time.monotonic()
                self._changed.wait(min(max(left, 0.0), MAX_WAIT_SECONDS))

    def _next_round(self) -> list[tuple[M, _Place]]:
        """Empty if the thread is to end."""
        self._changed.clear()
        with self._lock:
            if not self._places:
                self._thread = None
            return list(self._places.items())

    def _look(self, member: M, place: _Place) -> None:
        with place.lock:
            if place.is_removed:
                return
            # Before: it may ask to be looked at again meanwhile.
            place.due = float("inf")
            try:
                seconds = member.look()
            except Exception:
                # It must not end the thread, which others need.
                logger.exception("A run could not be looked after")
                seconds = AFTER_ERROR_SECONDS
            place.due = min(place.due, time.monotonic() + seconds)
