"""A service's broker from outside, the same way for each kind of server."""

import json
import signal
from collections.abc import Collection
from typing import Any, Protocol
from uuid import UUID

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

    def has_waiting(self, pks: Collection[UUID]) -> bool:
        """Whether no worker holds the messages of these queued runs, as far as it tells.

        It may have others, too: a message that is with a worker for long is delivered again on Redis, and a
        run that is queued for long is published again.
        """


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

    def has_waiting(self, pks: Collection[UUID]) -> bool:
        with redis.Redis(unix_socket_path=str(self._running.socket)) as client:
            waiting = [json.loads(each) for each in client.lrange(QUEUE, 0, -1)]
            held = [json.loads(each)[0] for each in client.hvals(UNACKNOWLEDGED)]
        return set(pks) <= _run_ids(waiting) and _run_ids(held).isdisjoint(pks)


def _run_ids(messages: list[Any]) -> set[UUID]:
    return {UUID(each["headers"]["id"]) for each in messages}
