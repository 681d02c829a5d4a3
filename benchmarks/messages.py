"""The messages in Redis, as a process sees them that needs nothing of the project."""

from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from time import perf_counter, sleep

import redis

QUEUE = "celery"
LOOK_EVERY_SECONDS = 0.005
LONGEST_WAIT_SECONDS = 3600


class Queue:
    """The messages that have arrived."""

    def __init__(self, broker_url: str) -> None:
        """On the broker's own server."""
        self._url = broker_url.replace("redis+socket:", "unix:")
        self._client = redis.Redis.from_url(self._url)

    def __len__(self) -> int:
        """How many wait there."""
        return int(self._client.llen(QUEUE))

    def empty(self) -> None:
        """Throw them away."""
        self._client.delete(QUEUE)

    @contextmanager
    def arrival(self, count: int) -> Iterator[Future[float]]:
        """The moment, by ``perf_counter``, at which so many have arrived; else a TimeoutError.

        Another process looks: it neither slows down who sends, nor waits for what that one does afterwards.
        """
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
            process.submit(perf_counter).result()
            yield process.submit(_wait, self._url, count)


def _wait(url: str, count: int) -> float:
    queue, deadline = Queue(url), perf_counter() + LONGEST_WAIT_SECONDS
    while len(queue) < count:
        if perf_counter() > deadline:
            raise TimeoutError(f"only {len(queue)} messages are in Redis")
        sleep(LOOK_EVERY_SECONDS)
    return perf_counter()
