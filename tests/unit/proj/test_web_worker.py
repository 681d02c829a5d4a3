"""A client that stops in the middle of its request does not keep a thread.

These tests also fail if gunicorn changes the methods that the worker overrides.
"""

import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn

from proj import web_worker
from tests.waiting import DEADLINE_SECONDS, wait_until

HALF = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n"
WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def worker() -> Iterator[web_worker.Worker]:
    """A worker with a single thread, whose main loop does not run."""
    config = Config()
    made = web_worker.Worker(0, os.getppid(), [], SimpleNamespace(), 30, config, Logger(config))
    made.tpool = ThreadPoolExecutor(1)
    made.method_queue.init()
    yield made
    made.tpool.shutdown()
    made.method_queue.close()
    made.tmp.close()


@pytest.fixture
def client(worker: web_worker.Worker) -> Iterator[socket.socket]:
    """A client that has connected."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker.enqueue_req(TConn(worker.cfg, theirs, ("127.0.0.1", 5), ("127.0.0.1", 80)))
        yield ours


@pytest.mark.parametrize(
    "sent", [b"", HALF, HALF + b"\r\nabc"], ids=["nothing", "half a head", "half a body"]
)
def test_a_request_that_does_not_arrive_in_time_is_given_up(
    sent: bytes, worker: web_worker.Worker, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_all(environ: Any, start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read()
        start_response("200 OK", [])
        return []

    worker.wsgi = read_all
    client.sendall(sent)
    worker.notify()
    assert worker._begun
    monkeypatch.setattr(web_worker, "READ_SECONDS", 0)

    def is_free() -> bool:
        worker.notify()
        return not worker._begun

    wait_until(is_free, what="its thread is free again")


def test_a_slow_answer_is_still_sent(
    worker: web_worker.Worker, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_worker, "READ_SECONDS", 0)
    is_answering, may_go_on = threading.Event(), threading.Event()

    def answer_slowly(environ: Any, start_response: Any) -> list[bytes]:
        is_answering.set()
        may_go_on.wait(DEADLINE_SECONDS)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    worker.wsgi = answer_slowly
    client.sendall(WHOLE)
    assert is_answering.wait(DEADLINE_SECONDS)
    worker.notify()
    may_go_on.set()
    assert client.recv(4096).startswith(b"HTTP/1.1 200 OK")


def test_a_request_that_has_waited_for_a_thread_is_still_answered(
    worker: web_worker.Worker, client: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_worker, "READ_SECONDS", 0)

    def answer(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    worker.wsgi = answer
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(WHOLE)
        # Waits, because the only thread is reading from the other client.
        worker.enqueue_req(TConn(worker.cfg, theirs, ("127.0.0.1", 6), ("127.0.0.1", 80)))
        worker.notify()
        assert ours.recv(4096).startswith(b"HTTP/1.1 200 OK")
