"""Kills by the kernel because memory ran out: how many there were in this process's control group.

To its parent, a process that the kernel has killed for want of memory looks like any other that has received
SIGKILL. But the kernel counts such kills for each control group, which usually is that of the container or
the systemd unit. So if a process received SIGKILL, and the counter has risen since it started, that was why.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from jobledger.runs.processes.resources import content_of

MEMBERSHIP = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")

_COUNT = re.compile(rb"^oom_kill (\d+)$", re.MULTILINE)


def kills() -> int | None:
    """How many processes of this control group the kernel has killed; None if unknown."""
    for path in _counters():
        with suppress(OSError):
            if found := _COUNT.search(content_of(path)):
                return int(found[1])
    return None


class KillCounter:
    """Attributes kills to processes that have died: each kill to one of them."""

    def __init__(self) -> None:
        self._attributed = 0

    def explains_death(self, *, kills_before: int | None) -> bool:
        """Whether the kernel has killed a process, other than those already attributed, since that count."""
        now = kills()
        if now is None or kills_before is None:
            return False
        known = max(kills_before, self._attributed)
        if now > known:
            self._attributed = known + 1
        return now > known


def _counters() -> Sequence[str]:
    with suppress(OSError):
        return _counters_of(content_of(str(MEMBERSHIP)), CONTROL_GROUPS)
    return ()


# A process may be moved to another group at any time, but hardly ever is.
@lru_cache(maxsize=8)
def _counters_of(membership: bytes, groups: Path) -> Sequence[str]:
    return [str(path) for path in _paths(membership.decode(errors="replace"), groups)]


def _paths(membership: str, groups: Path) -> Iterator[Path]:
    """The files that may contain the counter: of version 2 of control groups, then of version 1.

    In a container, its own group may be mounted at the root, while the path is as seen from outside.
    """
    # Controllers and path, by version 2 first.
    fields = [line.split(":", 2) for line in membership.splitlines()]
    for controllers, path in sorted((each[1], each[2].lstrip("/")) for each in fields if len(each) == 3):
        if controllers == "":
            yield groups / path / "memory.events"
            yield groups / "memory.events"
        elif "memory" in controllers.split(","):
            yield groups / "memory" / path / "memory.oom_control"
            yield groups / "memory" / "memory.oom_control"
