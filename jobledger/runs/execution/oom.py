"""Kills by the kernel because memory ran out: how many there were in this process's control group.

To its parent, a process that the kernel has killed for want of memory looks like any other that has received
SIGKILL. But the kernel counts such kills for each control group, which usually is that of the container or
the systemd unit. So if a process received SIGKILL, and the counter has risen since it started, that was why.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)


def kills() -> int | None:
    """How many processes of this control group the kernel has killed; None if unknown."""
    for path in _counters():
        with suppress(OSError):
            if found := _COUNT.search(path.read_text()):
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


def _counters() -> Iterator[Path]:
    """The files that may contain the counter: of version 2 of control groups, then of version 1.

    In a container, its own group may be mounted at the root, while the path is as seen from outside.
    """
    for controllers, path in _memberships():
        if controllers == "":
            yield CONTROL_GROUPS / path / "memory.events"
            yield CONTROL_GROUPS / "memory.events"
        elif "memory" in controllers.split(","):
            yield CONTROL_GROUPS / "memory" / path / "memory.oom_control"
            yield CONTROL_GROUPS / "memory" / "memory.oom_control"


def _memberships() -> list[tuple[str, str]]:
    """Controllers and path, by version 2 first."""
    with suppress(OSError):
        lines = MEMBERSHIP.read_text().splitlines()
        fields = [line.split(":", 2) for line in lines]
        return sorted((each[1], each[2].lstrip("/")) for each in fields if len(each) == 3)
    return []
