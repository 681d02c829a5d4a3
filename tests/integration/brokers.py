"""A service's broker from outside, the same way for each kind of server."""

import signal
from typing import Protocol

import redis

from tests.integration.processes import has_messages
from tests.integration.service import QUEUE, UNACKNOWLEDGED, Service


class Broker(Protocol):
    """The server in which the messages wait."""

    keeps_calls: bool
    """Whether it loses no call, even if it or a worker is killed."""

    def kill_and_start(self) -> None:
        """Kill it, and start it again with its data."""

    def is_empty(self) -> bool:
        """Whether no message is waiting or, as far as it tells, with a worker."""

    def holds(self, *, waiting: int, with_workers: int) -> bool:
        """Whether it has so many messages, as far as it tells."""


class Redis:
    """The service's Redis server."""

    keeps_calls = False

    def __init__(self, running: Service) -> None:
        self._running = running

    def kill_and_start(self) -> None:
        self._running.stop("redis", signal.SIGKILL)
        self._running.start_redis()

    def is_empty(self) -> bool:
        return not has_messages(self._running)

    def holds(self, *, waiting: int, with_workers: int) -> bool:
        with redis.Redis(unix_socket_path=str(self._running.socket)) as client:
            found = client.llen(QUEUE), client.hlen(UNACKNOWLEDGED)
        return found == (waiting, with_workers)
