"""Answers to ``GET`` beside the work of a process: status, metrics, health."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from viridian_trainer.errors import BadConfig

#: Code, content type and body.
Answer = tuple[HTTPStatus, str, bytes]


class Listener:
    """Answers in threads of its own, which end with the process."""

    def __init__(self, answer: Callable[[str], Answer], port: int, host: str = "") -> None:
        """Listen at once; ``answer`` is given the path with its query.

        Raises
        ------
        BadConfig
            If the port is taken.
        """

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, kind, body = answer(self.path)
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                logging.getLogger(__name__).debug(format, *args)

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise BadConfig(f"port {port} (VIRIDIAN_PORT or --port) cannot be listened on: {error.strerror}") from None
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def metrics_or_health(path: str, registry: CollectorRegistry, trouble: str, also: str = "") -> Answer:
    """The answer for ``/metrics``, and for ``/healthz``, which fails with the ``trouble`` if there is any.

    Any other path is not found; ``also`` names what there is besides.
    """
    match path.partition("?")[0]:
        case "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry)
        case "/healthz" if trouble:
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{trouble}\n".encode()
        case "/healthz":
            return HTTPStatus.OK, "text/plain", b"ok\n"
    return HTTPStatus.NOT_FOUND, "text/plain", f"see {also}/metrics and /healthz\n".encode()
