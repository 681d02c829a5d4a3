"""What goes wrong during a soak, at random: parts are killed, stopped, restarted and cut off."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from benchmarks.soak.stack import SoakStack

QUIET_SECONDS = (6.0, 16.0)
"""Between two faults."""


def rage(stack: SoakStack, *, seconds: float, rng: random.Random) -> Counter[str]:
    """Let things go wrong for so long; returns how often which did."""
    done, end = Counter[str](), time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        # Nothing tells when the service has recovered; sometimes it has not.
        time.sleep(min(rng.uniform(*QUIET_SECONDS), rest))
        if time.monotonic() >= end:
            break
        name = rng.choice(list(FAULTS))
        try:
            FAULTS[name](stack, rng)
        except RuntimeError as error:
            # The container engine itself has its limits.
            sys.stderr.write(f"{name}: {error}\n")
        else:
            done[name] += 1
    return done


def _killed(service: str) -> Callable[[SoakStack, random.Random], None]:
    def fault(stack: SoakStack, rng: random.Random) -> None:
        stack.docker("kill", "--signal", "KILL", stack.container(service))
        time.sleep(rng.uniform(0, 4))
        stack.docker("start", stack.container(service))

    return fault


def _restarted(service: str) -> Callable[[SoakStack, random.Random], None]:
    def fault(stack: SoakStack, rng: random.Random) -> None:
        stack.docker("restart", "--time", "10", stack.container(service))

    return fault


def _stopped(service: str) -> Callable[[SoakStack, random.Random], None]:
    """All of its processes, sometimes for longer than a lease."""

    def fault(stack: SoakStack, rng: random.Random) -> None:
        pids = [process.pid for process in stack.processes(service)]
        _signal(pids, signal.SIGSTOP)
        try:
            time.sleep(rng.choice([2, 5, 25]))
        finally:
            _signal(pids, signal.SIGCONT)

    return fault


def _cut_off(service: str) -> Callable[[SoakStack, random.Random], None]:
    """Packets get lost without an answer until the network is back."""

    def fault(stack: SoakStack, rng: random.Random) -> None:
        container = stack.container(service)
        stack.docker("network", "disconnect", stack.network, container)
        try:
            time.sleep(rng.uniform(1, 12))
        finally:
            stack.docker("network", "connect", "--alias", service, stack.network, container)

    return fault


def _child_killed(stack: SoakStack, rng: random.Random) -> None:
    if children := stack.processes("worker")[1:]:
        _signal([rng.choice(children).pid], signal.SIGKILL)


def _signal(pids: Iterable[int], signum: signal.Signals) -> None:
    for pid in pids:
        # It may have ended in the meantime.
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


FAULTS: Mapping[str, Callable[[SoakStack, random.Random], None]] = {
    "worker killed": _killed("worker"),
    "job's process killed": _child_killed,
    "beat killed": _killed("beat"),
    "Redis restarted": _restarted("redis"),
    "Redis killed": _killed("redis"),
    "PostgreSQL restarted": _restarted("db"),
    "PostgreSQL killed": _killed("db"),
    "worker stopped": _stopped("worker"),
    "beat stopped": _stopped("beat"),
    "worker cut off": _cut_off("worker"),
    "Redis cut off": _cut_off("redis"),
}
