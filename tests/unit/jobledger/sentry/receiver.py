"""A server on loopback that decodes what Sentry's clients send."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from tests.receivers import QuietHandler, serving


@dataclass(kw_only=True)
class Sentry:
    """What it has received so far. A ``status`` other than 200 refuses it."""

    port: int = 0
    status: int = 200
    events: list[dict[str, Any]] = field(default_factory=list)
    check_ins: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.port}/7"

    def receive(self, envelope: bytes) -> None:
        """Items have a header of one line, and here a payload of one line."""
        lines = [json.loads(line) for line in envelope.split(b"\n") if line]
        for header, payload in zip(lines[1::2], lines[2::2], strict=True):
            {"event": self.events, "check_in": self.check_ins}[header["type"]].append(payload)


@contextmanager
def sentry_server(*, release: Event | None = None) -> Iterator[Sentry]:
    """With an event, it answers only after that."""
    received = Sentry()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            content = self.rfile.read(int(self.headers["Content-Length"]))
            if release is not None:
                release.wait(60)
            if received.status == 200:
                received.receive(content)
            received.keys.append(f"{self.path} {self.headers['X-Sentry-Auth']}")
            self.send_response(received.status)
            self.end_headers()

    with serving(Handler) as received.port:
        yield received
