"""Configuration files of the components, as text, and writing them below the state folder."""

import json
from typing import Any

from viridian_local import addresses as at
from viridian_local.certificates import KUBECONFIGS, kubeconfig, write_private
from viridian_local.paths import Paths

PAUSE_IMAGE = f"{at.REPOSITORY}/pause:dev"


def write(paths: Paths) -> None:
    """Write every file that a component reads at its start, kubeconfigs included."""
    for name, text in files(paths).items():
        write_private(paths.config / name, text)
    for leaf in KUBECONFIGS:
        target = paths.kubeconfig if leaf == "admin" else paths.config / f"{leaf}.kubeconfig"
        write_private(target, kubeconfig(paths.pki, leaf))


def files(paths: Paths) -> dict[str, str]:
    """File name below the configuration folder → content; no secrets among them."""
    return {
        "containerd.toml": containerd(paths),
        "cni/10-viridian.conflist": _json(_network(paths)),
        "authentication.yaml": _json(_AUTHENTICATION),
        "audit.yaml": _json(_AUDIT),
        "kubelet.yaml": _json(_kubelet(paths)),
        "proxy.yaml": _json(_proxy(paths)),
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1) + "\n"


def containerd(paths: Paths) -> str:
    """Settings of containerd: own folders and socket, so that the machine's own containerd is left alone."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    runc = f"{cri}.containerd.runtimes.runc"
    return f"""version = 2
root = "{paths.containerd}"
state = "{paths.run}/containerd/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{paths.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{paths.state}/opt"
[{cri}]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
[{cri}.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{paths.config}/cni"
[{cri}.containerd]
  default_runtime_name = "runc"
[{runc}]
  runtime_type = "io.containerd.runc.v2"
[{runc}.options]
  SystemdCgroup = false
  Root = "{paths.run}/runc"
"""


def _network(paths: Paths) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": f"{paths.run}/addresses",
        "ranges": [[{"subnet": at.POD_CIDR, "gateway": at.HOST}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": at.BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": at.NODE, "plugins": [bridge, ports]}


# Only probes may come without credentials.
_AUTHENTICATION = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "AuthenticationConfiguration",
    "anonymous": {"enabled": True, "conditions": [{"path": path} for path in ("/livez", "/readyz", "/healthz")]},
}

_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def _kubelet(paths: Paths) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": at.HOST,
        "port": at.KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{paths.pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{paths.pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{paths.pki}/kubelet.key",
        "clusterDomain": at.DOMAIN,
        "clusterDNS": [at.DNS_SERVICE],
        "containerRuntimeEndpoint": f"unix://{paths.socket}",
        "podLogsDir": f"{paths.state}/pod-logs",
        "volumePluginDir": f"{paths.state}/volume-plugins",
        "maxPods": 200,
        # Containers and continuous integration often offer only version 1 of control groups, and swap.
        "failCgroupV1": False,
        "failSwapOn": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{at.CGROUP}",
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        # 100 switches the collection of images off: imported images could not be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }


def _proxy(paths: Paths) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": at.HOST,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "clientConnection": {"kubeconfig": f"{paths.config}/proxy.kubeconfig"},
        "clusterCIDR": at.POD_CIDR,
        "mode": "iptables",
        "nodePortAddresses": [f"{at.HOST}/32"],
        "iptables": {"localhostNodePorts": False, "minSyncPeriod": "0s", "syncPeriod": "30s"},
        # Limits of the whole machine are not ours to change.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
