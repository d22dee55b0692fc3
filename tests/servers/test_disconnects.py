"""Clients of a real server that do not wait for their answer."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from modelwatch.testing import Service
from servers.service import becomes, gunicorn, running, uvicorn

CLIENTS = 10


def leave(service: Service, path: str) -> None:
    """Ask for a page and go away: from a stream after its first part, from a slow answer before it."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if path == "/stream":
            assert client.recv(1024)


@pytest.mark.parametrize("command", [uvicorn, gunicorn])
def test_clients_that_leave_are_no_errors(tmp_path: Path, command: Callable[[int], list[str]]) -> None:
    """Whoever leaves a stream is cancelled, without a duration; whoever leaves early is no error; nothing stays in progress."""
    with running(tmp_path, 2, command) as service:
        for _ in range(CLIENTS):
            leave(service, "/stream")
            leave(service, "/slow")
        for path in ("/stream", "/slow"):  # gunicorn lets an app go on for 3 seconds
            found = becomes(CLIENTS, lambda path=path: service.value("ml_requests_total", endpoint=path))  # type: ignore[misc]
            assert found == CLIENTS, path
        assert becomes(0, lambda: service.value("ml_requests_in_progress")) == 0
        assert service.value("ml_requests_cancelled_total", endpoint="/stream") == CLIENTS
        assert service.value("ml_request_duration_seconds_count", endpoint="/stream") == 0
        assert service.value("ml_requests_failed_total") == 0
