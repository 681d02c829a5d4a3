"""A service's processes and its Redis from outside, and ways to disturb them."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil
import redis

from tests.integration.database import can_write, is_sqlite
from tests.integration.service import QUEUE, UNACKNOWLEDGED, Service
from tests.waiting import wait_until


def kill_whole(running: Service, name: str) -> None:
    """Kill a worker, and with it all its children, like a power cut."""
    process = running.processes.pop(name)
    descendants = [each.pid for each in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_alive, descendants)), what="nothing is left of it")


@contextmanager
def suspended(running: Service, name: str) -> Iterator[None]:
    """Stop the process and its children inside the block.

    It is not stopped while it is writing to SQLite, since that would block all other writers.
    """
    wait_until(lambda: _stops_without_a_lock(running, name), what=f"{name} holds no lock")
    try:
        yield
    finally:
        resume(running, name)


def resume(running: Service, name: str) -> None:
    """Let the process and its children continue."""
    _signal(running, name, signal.SIGCONT)


def _stops_without_a_lock(running: Service, name: str) -> bool:
    _signal(running, name, signal.SIGSTOP)
    if not is_sqlite(running) or can_write(running):
        return True
    resume(running, name)
    return False


def _signal(running: Service, name: str, signum: signal.Signals) -> None:
    # The process itself first: if it is stopped, it cannot start other children.
    running.processes[name].send_signal(signum)
    for process in descendants_of(running, name):
        with suppress(ProcessLookupError):
            os.kill(process, signum)


def children_of(running: Service, name: str) -> Sequence[int]:
    """The process ids of a worker's children, without what these have started."""
    return _started_by(running, name, recursive=False)


def descendants_of(running: Service, name: str) -> Sequence[int]:
    """The process ids of a worker's children, and of all that these have started.

    Some live for a moment only: each child starts one to have a process group of its own.
    """
    return _started_by(running, name, recursive=True)


def _started_by(running: Service, name: str, *, recursive: bool) -> Sequence[int]:
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(running.processes[name].pid).children(recursive=recursive)
        return [each.pid for each in started]
    return []


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wipe_redis(running: Service) -> int:
    """Delete everything in Redis; returns how many messages were waiting."""
    with redis.Redis(unix_socket_path=str(running.socket)) as client:
        waiting = int(client.llen(QUEUE))
        client.flushall()
    return waiting


def has_messages(running: Service) -> bool:
    """Whether Redis holds any, waiting or with a worker."""
    with redis.Redis(unix_socket_path=str(running.socket)) as client:
        return bool(client.llen(QUEUE) or client.hlen(UNACKNOWLEDGED))


def with_workers(running: Service) -> int:
    """How many messages workers have received and not acknowledged."""
    with redis.Redis(unix_socket_path=str(running.socket)) as client:
        return int(client.hlen(UNACKNOWLEDGED))


def forget_restoring_lock(running: Service) -> None:
    """Remove the lock for restoring messages, which a killed worker would keep for minutes."""
    with redis.Redis(unix_socket_path=str(running.socket)) as client:
        client.delete(f"{UNACKNOWLEDGED}_mutex")
