"""``python -m tests.benchmarks.http_client PORT PATH SECONDS CONNECTIONS < BODY``: requests over kept connections.

A process of its own, so that it shares no interpreter with what is measured. It says when it is ready, begins when it
is given the body, and prints how many requests were answered. Only the standard library is imported, to be soon ready.
"""

from __future__ import annotations

import http.client
import sys
import time

TIMEOUT = 60.0
#: Said when it waits for the body.
READY = b"ready\n"


def answered(port: int, path: str, seconds: float, connections: int, body: bytes) -> int:
    """Keep one request on its way on each connection; returns how many were answered in time."""
    kept = [http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT) for _ in range(connections)]
    for each in kept:
        each.request("POST", path, body)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for each in kept:
            response = each.getresponse()
            if response.status != 200 or not response.read():
                raise RuntimeError(f"the server answered {response.status}")
            count += 1
            each.request("POST", path, body)
    return count


if __name__ == "__main__":
    port, path, seconds, connections = sys.argv[1:]
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    print(answered(int(port), path, float(seconds), int(connections), sys.stdin.buffer.read()))
