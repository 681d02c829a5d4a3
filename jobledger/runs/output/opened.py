"""Descriptors that this process has opened, and that a job may close, as daemons close all that they inherit.

From then on, their numbers may belong to others, so they are looked at before they are used again.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial


class Opened:
    """A descriptor that this process has opened."""

    def __init__(self, number: int, close: Callable[[], None] | None = None) -> None:
        """Closed with ``close``, if that is not just a matter of its number."""
        self._number, self._identity = number, _identity(number)
        self.close = close or partial(os.close, number)

    def is_ours(self) -> bool:
        """Whether nobody has closed it."""
        with suppress(OSError):
            return _identity(self._number) == self._identity
        return False

    def leave(self) -> None:
        """Never close it: its number may belong to others."""
        _left.append(self)


_left: list[Opened] = []
"""Python closes an epoll's number when its object is forgotten."""


def _identity(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_mode
