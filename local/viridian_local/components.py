"""The components in the order of their start: what to run, and how to see that it works."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from viridian_local import addresses as at
from viridian_local import probes
from viridian_local.paths import Paths


@dataclass(frozen=True)
class Component:
    """One long-running program; ``ready`` tells whether it serves, and is asked again and again."""

    name: str
    command: list[str]
    ready: Callable[[], bool]
    seconds: float = 60


def components(paths: Paths, binaries: Path) -> list[Component]:
    """All components of the cluster; each may rely on those before it."""
    return [
        Component("containerd", _containerd(paths), lambda: probes.containerd(paths)),
        Component("etcd", _etcd(paths, binaries), lambda: probes.etcd(paths)),
        Component("kube-apiserver", _api_server(paths, binaries), lambda: probes.api("/readyz"), seconds=120),
        Component(
            "kube-controller-manager",
            _controller_manager(paths, binaries),
            lambda: probes.tls_http("127.0.0.1", 10257, "/healthz"),
        ),
        Component(
            "kube-scheduler", _scheduler(paths, binaries), lambda: probes.tls_http("127.0.0.1", 10259, "/healthz")
        ),
        Component("kubelet", _kubelet(paths, binaries), lambda: probes.plain_http("127.0.0.1", 10248, "/healthz")),
        Component("kube-proxy", _proxy(paths, binaries), lambda: probes.plain_http("127.0.0.1", 10256, "/livez")),
    ]


def _containerd(paths: Paths) -> list[str]:
    return ["containerd", "--config", f"{paths.config}/containerd.toml"]


def _etcd(paths: Paths, binaries: Path) -> list[str]:
    pki = paths.pki
    client = f"https://127.0.0.1:{at.ETCD_PORT}"
    peer = f"https://127.0.0.1:{at.ETCD_PEER_PORT}"
    return [
        f"{binaries}/etcd",
        f"--name={at.NODE}",
        f"--data-dir={paths.state}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster={at.NODE}={peer}",
        "--client-cert-auth",
        f"--trusted-ca-file={pki}/etcd-ca.crt",
        f"--cert-file={pki}/etcd.crt",
        f"--key-file={pki}/etcd.key",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={pki}/etcd-ca.crt",
        f"--peer-cert-file={pki}/etcd.crt",
        f"--peer-key-file={pki}/etcd.key",
        "--unsafe-no-fsync",  # every start makes a new store, so a power cut has nothing to lose
        "--log-level=warn",
    ]


def _api_server(paths: Paths, binaries: Path) -> list[str]:
    pki = paths.pki
    return [
        f"{binaries}/kube-apiserver",
        f"--bind-address={at.HOST}",
        f"--advertise-address={at.HOST}",
        f"--secure-port={at.API_PORT}",
        f"--etcd-servers=https://127.0.0.1:{at.ETCD_PORT}",
        f"--etcd-cafile={pki}/etcd-ca.crt",
        f"--etcd-certfile={pki}/etcd-client.crt",
        f"--etcd-keyfile={pki}/etcd-client.key",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--authentication-config={paths.config}/authentication.yaml",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={at.SERVICE_CIDR}",
        f"--service-account-issuer=https://kubernetes.default.svc.{at.DOMAIN}",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-account-signing-key-file={pki}/service-account.key",
        "--allow-privileged=true",
        "--profiling=false",
        f"--audit-policy-file={paths.config}/audit.yaml",
        f"--audit-log-path={paths.logs}/audit.log",
        "--audit-log-maxsize=200",
        "--audit-log-maxbackup=3",
    ]


def _controller_manager(paths: Paths, binaries: Path) -> list[str]:
    pki = paths.pki
    return [
        f"{binaries}/kube-controller-manager",
        "--bind-address=127.0.0.1",
        f"--kubeconfig={paths.config}/controller-manager.kubeconfig",
        f"--authentication-kubeconfig={paths.config}/controller-manager.kubeconfig",
        f"--authorization-kubeconfig={paths.config}/controller-manager.kubeconfig",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/service-account.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--profiling=false",
    ]


def _scheduler(paths: Paths, binaries: Path) -> list[str]:
    return [
        f"{binaries}/kube-scheduler",
        "--bind-address=127.0.0.1",
        f"--kubeconfig={paths.config}/scheduler.kubeconfig",
        f"--authentication-kubeconfig={paths.config}/scheduler.kubeconfig",
        f"--authorization-kubeconfig={paths.config}/scheduler.kubeconfig",
        "--leader-elect=false",
        "--profiling=false",
    ]


def _kubelet(paths: Paths, binaries: Path) -> list[str]:
    return [
        f"{binaries}/kubelet",
        f"--config={paths.config}/kubelet.yaml",
        f"--kubeconfig={paths.config}/kubelet.kubeconfig",
        f"--root-dir={paths.kubelet}",
        f"--cert-dir={paths.kubelet}/pki",
        f"--hostname-override={at.NODE}",
        f"--node-ip={at.HOST}",
    ]


def _proxy(paths: Paths, binaries: Path) -> list[str]:
    return [f"{binaries}/kube-proxy", f"--config={paths.config}/proxy.yaml", f"--hostname-override={at.NODE}"]
