"""Keys, certificates and kubeconfigs of one cluster, made anew for each start."""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from viridian_local import addresses as at
from viridian_local.commands import run

DAYS = "365"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# Clients on Python ≥ 3.13 refuse a CA without key usage or key identifiers.
_CA = """
[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
CN = {name}
[extensions]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
"""
_LEAF = """
[req]
distinguished_name = name
prompt = no
x509_extensions = extensions
[name]
{organisation}CN = {name}
[extensions]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
{alternatives}
"""


@dataclass(frozen=True)
class Leaf:
    """One certificate: its file name, the authority that signs it, its user and group, the names it serves."""

    file: str
    authority: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()


_API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{at.DOMAIN}")
LEAVES = (
    # etcd has an authority of its own: whoever holds a certificate of the cluster's must not reach the store.
    Leaf("etcd", "etcd-ca", "etcd", names=("127.0.0.1", "localhost")),
    Leaf("etcd-client", "etcd-ca", "kube-apiserver"),
    Leaf("apiserver", "ca", "kube-apiserver", names=(at.HOST, at.API_SERVICE, "127.0.0.1", "localhost", *_API_NAMES)),
    Leaf("apiserver-kubelet", "ca", "kube-apiserver-kubelet-client", "system:masters"),
    Leaf("kubelet", "ca", f"system:node:{at.NODE}", "system:nodes", names=(at.HOST, at.NODE)),
    Leaf("controller-manager", "ca", "system:kube-controller-manager"),
    Leaf("scheduler", "ca", "system:kube-scheduler"),
    Leaf("proxy", "ca", "system:kube-proxy"),
    Leaf("admin", "ca", "viridian-local-admin", "system:masters"),
)
KUBECONFIGS = ("kubelet", "controller-manager", "scheduler", "proxy", "admin")


def create(pki: Path) -> None:
    """Write both authorities, every leaf and the key that signs service account tokens."""
    pki.mkdir(parents=True, exist_ok=True)
    pki.chmod(0o700)
    for name in ("ca", "etcd-ca"):
        _openssl(pki, name, _CA.format(name=f"viridian-local-{name}"), ())
    for leaf in LEAVES:
        signing = ("-CA", pki / f"{leaf.authority}.crt", "-CAkey", pki / f"{leaf.authority}.key")
        _openssl(pki, leaf.file, leaf_config(leaf), signing)
    key = pki / "service-account.key"
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key])
    run(["openssl", "pkey", "-in", key, "-pubout", "-out", pki / "service-account.pub"])


def leaf_config(leaf: Leaf) -> str:
    """The openssl configuration of one leaf."""
    names = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in leaf.names)
    return _LEAF.format(
        organisation=f"O = {leaf.group}\n" if leaf.group else "",
        name=leaf.user,
        alternatives=f"subjectAltName = {names}" if names else "",
    )


def _openssl(pki: Path, file: str, config: str, signing: Sequence[str | Path]) -> None:
    settings = pki / f"{file}.cnf"
    settings.write_text(config)
    out = ("-keyout", pki / f"{file}.key", "-out", pki / f"{file}.crt")
    run(["openssl", "req", "-x509", "-config", settings, *_NEW_KEY, "-days", DAYS, *signing, *out])
    (pki / f"{file}.key").chmod(0o600)


def kubeconfig(pki: Path, leaf: str) -> str:
    """A kubeconfig with embedded certificates (JSON, which is YAML)."""

    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    cluster = {"server": at.API_URL, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{leaf}.crt"), "client-key-data": data(f"{leaf}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": at.NODE, "cluster": cluster}],
        "users": [{"name": leaf, "user": user}],
        "contexts": [{"name": at.NODE, "context": {"cluster": at.NODE, "user": leaf}}],
        "current-context": at.NODE,
    }
    return json.dumps(config, indent=1) + "\n"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, never visible half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    scratch.rename(path)
