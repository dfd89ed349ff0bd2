"""A real kube-apiserver with its etcd, and nothing else of a cluster: no controllers, no nodes.

Enough for schemas, CEL rules, server-side apply, Leases and watches; starts in a few seconds.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from certificates import write_certificates

#: token -> user, group; the admin may do everything, the others what a test grants them
USERS = {"admin-token": ("admin", "system:masters"), "operator-token": ("operator", "operators")}
START_LIMIT = 60.0
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["ResponseStarted", "Panic"],
    "rules": [{"level": "Metadata"}],
}


def binaries() -> Path:
    """The directory with ``kube-apiserver`` and ``etcd``.

    ``VIRIDIAN_BIN_DIR`` names it; otherwise the local cluster's cache is asked.
    """
    named = os.environ.get("VIRIDIAN_BIN_DIR")
    if named is None:
        asked = subprocess.run([sys.executable, "-m", "viridian_local", "bindir"], capture_output=True, text=True)
        named = asked.stdout.strip()
    directory = Path(named or "/nonexistent")
    missing = [name for name in ("kube-apiserver", "etcd") if not (directory / name).is_file()]
    if missing:
        raise AssertionError(
            f"{' and '.join(missing)} missing in {directory}: set VIRIDIAN_BIN_DIR, or build them as docs/ describe"
        )
    return directory


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ApiServer:
    """Starts, stops and talks to one API server on free loopback ports."""

    def __init__(self, directory: Path, *, strict_certificates: bool = True) -> None:
        self.directory, self._binaries = directory, binaries()
        self._etcd_port, self._peer_port, self._port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        write_certificates(directory, strict=strict_certificates)
        tokens = [f"{token},{user},{user},{group}" for token, (user, group) in USERS.items()]
        (directory / "tokens.csv").write_text("\n".join(tokens) + "\n")
        (directory / "audit.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
        self.context = ssl.create_default_context(cafile=str(directory / "ca.crt"))
        self.context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    @property
    def kubeconfig(self) -> Path:
        """Access of an administrator."""
        return self.kubeconfig_of("admin-token")

    def kubeconfig_of(self, token: str) -> Path:
        """Access of one of ``USERS``."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": self.url, "certificate-authority": str(self.directory / "ca.crt")},
                }
            ],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
        }
        path = self.directory / f"kubeconfig-{token}"
        path.write_text(yaml.safe_dump(config))
        return path

    def start(self) -> None:
        """Start what does not run, and wait until it is ready."""
        if self._etcd is None:
            self._etcd = self._run("etcd", *self._etcd_options())
        if self._server is None:
            self._server = self._run("kube-apiserver", *self._server_options())
        deadline = time.monotonic() + START_LIMIT
        while not self._ready():
            for process in (self._etcd, self._server):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"the API server did not start:\n{self._tail()}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop both; the data stays."""
        self.stop_server()
        if self._etcd is not None:
            _end(self._etcd)
            self._etcd = None

    def stop_server(self) -> None:
        """Stop the API server alone: an outage."""
        if self._server is not None:
            _end(self._server)
            self._server = None

    def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """One request as administrator; errors are ``urllib.error.HTTPError`` with the server's message."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer admin-token", "Content-Type": content_type},
        )
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.context) as answer:
                return json.loads(answer.read() or "{}")
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            error.msg = json.loads(text).get("message", text) if text.startswith("{") else text
            raise

    def requests(self, agent: str) -> list[str]:
        """``verb resource[/subresource]`` of every request so far from user agents that begin with ``agent``."""
        seen = []
        for entry in self._received():
            if entry.get("userAgent", "").startswith(agent):
                about = entry.get("objectRef") or {"resource": entry["requestURI"]}
                seen.append(
                    "/".join([f"{entry['verb']} {about['resource']}", *filter(None, [about.get("subresource")])])
                )
        return seen

    def applied(self, name: str) -> list[float]:
        """When requests arrived that apply or patch an object of this name, as seconds since the epoch."""
        return [
            datetime.fromisoformat(entry["requestReceivedTimestamp"]).timestamp()
            for entry in self._received()
            if entry["verb"] == "patch" and entry.get("objectRef", {}).get("name") == name
        ]

    def namespace(self, name: str) -> str:
        """Create a namespace."""
        self.request(
            "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        return name

    def install(self, definition: dict[str, Any]) -> None:
        """Apply a CustomResourceDefinition and wait until it is served."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
        apply = f"{path}?fieldManager=test&force=true"
        self.request("PATCH", apply, definition, content_type="application/apply-patch+yaml")
        spec, deadline = definition["spec"], time.monotonic() + 30
        served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
        while True:
            try:
                self.request("GET", served)
                return
            except urllib.error.HTTPError:
                assert time.monotonic() < deadline, f"{served} is not served"
                time.sleep(0.05)

    def _received(self) -> list[dict[str, Any]]:
        lines = (self.directory / "audit.log").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["stage"] == "RequestReceived"]

    def _ready(self) -> bool:
        try:
            request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": "Bearer admin-token"})
            with urllib.request.urlopen(request, timeout=2, context=self.context):
                return True
        except OSError:
            return False

    def _run(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen([self._binaries / name, *options], stdout=log, stderr=log, start_new_session=True)

    def _etcd_options(self) -> list[str]:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._peer_port}"
        return [
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=error",
        ]

    def _server_options(self) -> list[str]:
        at = self.directory
        return [
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--tls-cert-file={at / 'server.crt'}",
            f"--tls-private-key-file={at / 'server.key'}",
            f"--cert-dir={at}",
            f"--token-auth-file={at / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={at / 'server.key'}",
            f"--service-account-signing-key-file={at / 'server.key'}",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={at / 'audit.yaml'}",
            f"--audit-log-path={at / 'audit.log'}",
        ]

    def _tail(self) -> str:
        logs = [self.directory / f"{name}.log" for name in ("etcd", "kube-apiserver")]
        return "\n".join(f"== {log.name}\n{log.read_text()[-1500:]}" for log in logs if log.exists())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
