"""The API server behind the proxy, as a kubeconfig names it."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Upstream:
    """Address, credentials and trust."""

    url: str
    headers: dict[str, str]
    context: ssl.SSLContext


def read_upstream(kubeconfig: Path, scratch: Path) -> Upstream:
    """Of the present context; embedded certificates are written to ``scratch``, as ``ssl`` wants files."""
    config = yaml.safe_load(kubeconfig.read_text())
    context = _named(config, "contexts", config["current-context"])["context"]
    cluster = _named(config, "clusters", context["cluster"])["cluster"]
    user = _named(config, "users", context["user"])["user"]
    trust = ssl.create_default_context(cafile=_file(cluster, "certificate-authority", scratch))
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if (certificate := _file(user, "client-certificate", scratch)) is not None:
        trust.load_cert_chain(certificate, _file(user, "client-key", scratch))
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return Upstream(cluster["server"].rstrip("/"), headers, trust)


def write_kubeconfig(url: str, path: Path) -> Path:
    """A kubeconfig for plain HTTP at ``url``, without credentials."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": url}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy", "namespace": "default"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def _named(config: dict[str, Any], section: str, name: str) -> dict[str, Any]:
    return next(each for each in config[section] if each["name"] == name)


def _file(section: dict[str, Any], key: str, scratch: Path) -> str | None:
    if key in section:
        return str(section[key])
    if f"{key}-data" not in section:
        return None
    path = scratch / key
    path.write_bytes(base64.b64decode(section[f"{key}-data"]))
    path.chmod(0o600)
    return str(path)
