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
    """Kill a worker and all its children at once, like a power cut."""
    process = running.processes.pop(name)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def suspended(running: Service, name: str) -> Iterator[None]:
    """Stop the process and its children inside the block.

    It is not stopped while it is writing to SQLite, since that would block all other writers.
    """
    group = running.processes[name].pid
    wait_until(lambda: _stops_without_a_lock(running, group), what=f"{name} holds no lock")
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


def _stops_without_a_lock(running: Service, group: int) -> bool:
    os.killpg(group, signal.SIGSTOP)
    if not is_sqlite(running) or can_write(running):
        return True
    os.killpg(group, signal.SIGCONT)
    return False


def children_of(running: Service, name: str) -> Sequence[int]:
    """The process ids of a worker's descendants."""
    with suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(running.processes[name].pid).children(recursive=True)]
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


def forget_restoring_lock(running: Service) -> None:
    """Remove the lock for restoring messages, which a killed worker would keep for minutes."""
    with redis.Redis(unix_socket_path=str(running.socket)) as client:
        client.delete(f"{UNACKNOWLEDGED}_mutex")
