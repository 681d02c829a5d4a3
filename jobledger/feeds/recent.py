"""Calendars that were written lately, so that asking for them again and again costs next to nothing.

Each process has its own, of one version of what they show: once that has changed, none serves the old one.
Whether the client may read it is not kept, but asked each time.
"""

import threading
import time
from collections.abc import Callable

KEPT_SECONDS = 60.0
MAX_KEPT = 100

_lock = threading.Lock()
_kept: dict[str, tuple[str, float, bytes]] = {}


def get(key: str, version: str, write: Callable[[], bytes]) -> bytes:
    """What was written of this version in the last minute, or what ``write`` returns, one at a time."""
    with _lock:
        kept, until, content = _kept.get(key, ("", 0.0, b""))
        now = time.monotonic()
        if now >= until or kept != version:
            content = write()
            _forget(now)
            _kept[key] = version, time.monotonic() + KEPT_SECONDS, content
        return content


def clear() -> None:
    _kept.clear()


def _forget(now: float) -> None:
    for key in [key for key, (_, until, _) in _kept.items() if now >= until]:
        del _kept[key]
    while len(_kept) >= MAX_KEPT:
        del _kept[next(iter(_kept))]
