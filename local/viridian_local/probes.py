"""Asking the components whether they serve."""

import http.client
import ssl

from viridian_local import addresses as at
from viridian_local.commands import run
from viridian_local.errors import Problem
from viridian_local.paths import Paths

SECONDS = 3


def http_status(connection: http.client.HTTPConnection, path: str) -> int:
    """Status of one GET; 0 when nobody answers."""
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def plain_http(host: str, port: int, path: str) -> bool:
    """Whether a plain GET answers 200."""
    return http_status(http.client.HTTPConnection(host, port, timeout=SECONDS), path) == 200


def tls_http(host: str, port: int, path: str, context: ssl.SSLContext | None = None) -> bool:
    """Whether a GET over TLS answers 200; health endpoints need no verified certificate."""
    if context is None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http_status(http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context), path) == 200


def api(path: str) -> bool:
    """Whether the API server answers 200 on one of its probe paths."""
    return tls_http(at.HOST, at.API_PORT, path)


def etcd(paths: Paths) -> bool:
    """Whether the store answers our client certificate."""
    try:
        context = ssl.create_default_context(cafile=str(paths.pki / "etcd-ca.crt"))
        context.load_cert_chain(paths.pki / "etcd-client.crt", paths.pki / "etcd-client.key")
    except OSError:
        return False
    return tls_http("127.0.0.1", at.ETCD_PORT, "/health", context)


def containerd(paths: Paths) -> bool:
    """Whether containerd answers on our socket."""
    try:
        return run(["ctr", "-a", paths.socket, "version"], check=False, timeout=SECONDS).returncode == 0
    except Problem:
        return False
