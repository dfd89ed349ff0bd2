"""``python -m tests.benchmarks.http_client PORT PATH SECONDS CONNECTIONS < BODY``: requests over kept connections.

A process of its own, so that it shares no interpreter with what is measured; it begins when it is given the body, and
prints how many requests were answered. It imports nothing but the standard library, to be ready at once.
"""

from __future__ import annotations

import http.client
import sys
import time

TIMEOUT = 60.0


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
    print(answered(int(port), path, float(seconds), int(connections), sys.stdin.buffer.read()))
