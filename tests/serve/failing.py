"""A small service that fails when it is asked to; its counts are in the live.db of its folder."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import modelwatch
from modelwatch.schema import ModelSchema

monitor = modelwatch.Monitor("m", "1", ModelSchema(classes=("a", "b")), live="live.db")


class Handler(BaseHTTPRequestHandler):
    """Answers /healthz, /predict and /fail."""

    def do_GET(self) -> None:
        """Answer, and count what is no health check."""
        failed = self.path == "/fail"
        if self.path != "/healthz":
            monitor.record("/predict", 0.01, None if failed else "a", error="OSError" if failed else None)
        self.send_response(500 if failed else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
