"""Names, addresses and ports of the cluster; all of them lie on loopback or on the cluster's own bridge."""

NODE = "viridian-local"
BRIDGE = "viridian0"
BRIDGE_MAC = "02:76:69:72:69:64"  # fixed, since a bridge without one takes over the address of each new port
POD_CIDR = "10.244.0.0/16"
HOST = "10.244.0.1"  # the bridge's own address: pods and the host reach the API server there, nobody else does
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
DOMAIN = "cluster.local"

API_PORT = 6443
API_URL = f"https://{HOST}:{API_PORT}"
ETCD_PORT = 23790
ETCD_PEER_PORT = 23800
KUBELET_PORT = 10250
CGROUP = "viridian-local"
REPOSITORY = "viridian.local"

# (address, port, who listens): checked before a start, so that a clash is told and not found in a log.
LISTENERS = (
    ("127.0.0.1", ETCD_PORT, "etcd"),
    ("127.0.0.1", ETCD_PEER_PORT, "etcd"),
    (HOST, API_PORT, "kube-apiserver"),
    ("127.0.0.1", 10257, "kube-controller-manager"),
    ("127.0.0.1", 10259, "kube-scheduler"),
    (HOST, KUBELET_PORT, "kubelet"),
    ("127.0.0.1", 10248, "kubelet"),
    ("127.0.0.1", 10249, "kube-proxy"),
    ("127.0.0.1", 10256, "kube-proxy"),
)
