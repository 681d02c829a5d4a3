"""Receivers on loopback: a mail server, web servers that accept or refuse, and ones that are slow or dead."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from aiosmtpd.controller import Controller

from tests.ports import free_port


@dataclass(kw_only=True)
class Received:
    """What a receiver has received so far, and its port."""

    port: int = 0
    mails: list[Message] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """The path with its query, and the body."""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


class _Mailbox:
    def __init__(self, received: Received, refusal: str) -> None:
        self._received, self._refusal = received, refusal

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        if self._refusal:
            return self._refusal
        self._received.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@contextmanager
def mail_server(*, refusal: str = "") -> Iterator[Received]:
    """An SMTP server that keeps what it gets, or answers every mail with the refusal."""
    received = Received()
    controller = Controller(_Mailbox(received, refusal), hostname="127.0.0.1", port=free_port())
    controller.start()
    received.port = controller.port
    try:
        yield received
    finally:
        controller.stop()


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps the tests' output clean."""

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(handler: type[QuietHandler], host: str = "127.0.0.1") -> Iterator[int]:
    """The port of an HTTP server that answers with the handler."""
    with ThreadingHTTPServer((host, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def web_server(
    *,
    status: int = 200,
    reason: str | None = None,
    release: threading.Event | None = None,
    location: str = "",
    host: str = "127.0.0.1",
    statuses: Mapping[str, int] = MappingProxyType({}),
    body: str = "",
) -> Iterator[Received]:
    """An HTTP server that keeps the requests; with an event, it answers only after that.

    ``location`` is where it redirects to, with a status that says so. ``statuses`` are those of paths that
    begin in this way. ``body`` is what it answers.
    """
    received = Received()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received.requests.append((self.path, content.decode()))
            if release is not None:
                release.wait(60)
            own = [each for prefix, each in statuses.items() if self.path.startswith(prefix)]
            self.send_response(own[0] if own else status, reason)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_POST  # noqa: N815 - http.server's name

    with serving(Handler, host) as received.port:
        try:
            yield received
        finally:
            if release is not None:
                release.set()


@contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server that accepts connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
