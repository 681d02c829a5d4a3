"""Tells whether a process belongs to a wrapped line of a crontab, and to which run.

A relay has a name of its own, which its descendants look for among their ancestors. So nothing has to be
added to the environment of the line, which ``sudo`` or ``env -i`` would remove, and which a daemon would keep
after the line has ended. The run's id is made from what identifies a process. Only on Linux.

Imports little, since the relay imports it.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

RELAY_NAME = "jobledger-wrap"
"""As in ``ps``; Linux truncates it to 15 bytes."""
_MAX_ANCESTORS = 100


class Process(NamedTuple):
    """A process, which no other one of this machine has in common with."""

    pid: int
    started: int
    """In clock ticks after the system's start."""


def announce_relay() -> None:
    """Let descendants of this process know that it is a relay."""
    _set_name(RELAY_NAME)


def announce_recorder() -> None:
    """A fork of the relay is none itself."""
    _set_name("jobledger-rec")


def relay() -> Process | None:
    """The relay of the line that this process belongs to, if any."""
    return next((process for name, process in _ancestors() if name == RELAY_NAME), None)


def this_process() -> Process:
    """This process, whose start is 0 where that is unknown."""
    stat = _stat(os.getpid())
    return stat[2] if stat else Process(pid=os.getpid(), started=0)


def arguments_of(process: Process) -> list[str]:
    """The command line of another process; empty if it cannot be read."""
    return [os.fsdecode(word) for word in _read(f"/proc/{process.pid}/cmdline").split(b"\0")[:-1]]


def identity_of(process: Process) -> str:
    """What tells the process from all others, also of other machines and containers."""
    boot = _read("/proc/sys/kernel/random/boot_id").decode().strip()
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - importing pathlib takes a while
    except OSError:
        namespace = ""
    return f"{os.uname().nodename} {boot} {namespace} {process.pid} {process.started}"


def _ancestors() -> Iterator[tuple[str, Process]]:
    pid = os.getppid()
    for _ in range(_MAX_ANCESTORS):
        if not pid or (found := _stat(pid)) is None:
            return
        name, pid, process = found
        yield name, process


def _stat(pid: int) -> tuple[str, int, Process] | None:
    """The name of a process, its parent and itself."""
    line = _read(f"/proc/{pid}/stat")
    # The name, in parentheses, may contain anything.
    name, _, rest = line.partition(b"(")[2].rpartition(b")")
    fields = rest.split()
    if len(fields) < 20:
        return None
    return name.decode(errors="replace"), int(fields[1]), Process(pid=pid, started=int(fields[19]))


def _read(path: str) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return b"".join(iter(lambda: os.read(file, 65536), b""))
    except OSError:
        return b""
    finally:
        os.close(file)


def _set_name(name: str) -> None:
    try:
        file = os.open("/proc/self/comm", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(file, name.encode())
    except OSError:
        pass
    finally:
        os.close(file)
