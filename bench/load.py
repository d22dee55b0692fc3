"""The load: keeps a few connections busy with one request after another, and counts the answers.

A process of its own on a core of its own. A line "port seconds" on its input is one round; a line of JSON is the result.
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time

CONNECTIONS = 8
REQUEST = b"GET /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"


def whole(answer: bytes) -> bool:
    """Tell whether an answer has come to its end."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise AssertionError(f"the service answered {head[:40]!r}")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0].split(b":")[1])


def load(port: int, seconds: float) -> dict[str, float]:
    """Ask as fast as the service answers, for so long; wait for the answers under way; return what was counted."""
    connections = {}
    poll = select.poll()
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        poll.register(connection, select.POLLIN)
    usual, parts = 0, dict.fromkeys(connections, b"")  # length of an answer; what has come of one that is not whole
    done = 0
    cpu, begin = time.process_time(), time.perf_counter()
    end = begin + seconds
    for connection in connections.values():
        connection.sendall(REQUEST)
    waiting = len(connections)
    while waiting:
        for number, _ in poll.poll(30_000):
            connection = connections[number]
            got = connection.recv(65_536)
            if not got:
                raise AssertionError("the service has closed a connection")
            answer = parts[number] + got if parts[number] else got
            if len(answer) != usual:
                if not whole(answer):
                    parts[number] = answer
                    continue
                usual = len(answer)
            parts[number] = b""
            done += 1
            if time.perf_counter() < end:
                connection.sendall(REQUEST)
            else:
                waiting -= 1
    took = time.perf_counter() - begin
    busy = (time.process_time() - cpu) / took
    for connection in connections.values():
        connection.close()
    return {"requests": done, "seconds": took, "busy": busy}


def main(core: int | None) -> None:
    """Load as the input says."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    for line in sys.stdin:
        port, seconds = line.split()
        print(json.dumps(load(int(port), float(seconds))), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
