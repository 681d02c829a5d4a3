"""The messages in Redis, as seen by a process that does not load the project."""

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from time import perf_counter, sleep

import redis

POLL_SECONDS = 0.005
TIMEOUT_SECONDS = 3600


class Queue:
    """The messages that are waiting in Redis."""

    def __init__(self, broker_url: str, key: str) -> None:
        """Connect to the broker; the key is that of Celery's default queue."""
        self._url, self._key = broker_url.replace("redis+socket:", "unix:"), key
        self._client = redis.Redis.from_url(self._url)

    def __len__(self) -> int:
        """The number of messages."""
        return int(self._client.llen(self._key))

    def empty(self) -> None:
        """Discard the messages."""
        self._client.delete(self._key)

    @contextmanager
    def arrival(self, count: int) -> Iterator[Future[float]]:
        """The time, by ``perf_counter``, when this many messages have arrived. Raises TimeoutError.

        A separate process polls, so it does not slow down the sender, and does not have to wait for anything
        that the sender does after publishing.
        """
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
            process.submit(perf_counter).result()
            yield process.submit(_wait, self._url, self._key, count)


def _wait(url: str, key: str, count: int) -> float:
    queue, deadline = Queue(url, key), perf_counter() + TIMEOUT_SECONDS
    while len(queue) < count:
        if perf_counter() > deadline:
            raise TimeoutError(f"only {len(queue)} messages are in Redis")
        sleep(POLL_SECONDS)
    return perf_counter()
