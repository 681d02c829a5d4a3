"""Receives alerts: appends each request's body to a file, in one line. Runs in a container of its own."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = 8080


class Receiver(BaseHTTPRequestHandler):
    """Accepts everything."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        with Path(sys.argv[1]).open("a") as file:
            file.write(f"{json.dumps(body)}\n")
        self.send_response(200)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), Receiver).serve_forever()
