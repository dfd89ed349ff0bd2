"""CoreDNS, the cluster's name service, as Kubernetes objects."""

from typing import Any

from viridian_local import addresses as at

IMAGE = f"{at.REPOSITORY}/coredns:dev"
_PORT = 5353  # above 1023, so that the container needs neither root nor a capability
_LABELS = {"k8s-app": "kube-dns"}
_META = {"name": "coredns", "namespace": "kube-system", "labels": _LABELS}

# No forwarding: pods of a test have no business with names outside, and get their "no such name" at once.
_COREFILE = f""".:{_PORT} {{
    errors
    health {{
        lameduck 2s
    }}
    ready
    kubernetes {at.DOMAIN} in-addr.arpa {{
        pods insecure
        ttl 5
    }}
    cache 5
    reload
}}
"""


def objects() -> list[dict[str, Any]]:
    """All objects of the name service."""
    return [_account(), *_access(), _configuration(), _deployment(), _service()]


def _account() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": _META}


def _access() -> list[dict[str, Any]]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    name = {"name": "system:coredns"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name}
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    group = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": group, "kind": "ClusterRole", "metadata": name, "rules": rules},
        {"apiVersion": group, "kind": "ClusterRoleBinding", "metadata": name, "roleRef": role, "subjects": [subject]},
    ]


def _configuration() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _META, "data": {"Corefile": _COREFILE}}


def _deployment() -> dict[str, Any]:
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",
        "containers": [_container()],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _META, "spec": spec}


def _container() -> dict[str, Any]:
    return {
        "name": "coredns",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
        "ports": [
            {"name": "dns", "containerPort": _PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": _PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
        "livenessProbe": _liveness(),
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}, "limits": {"memory": "170Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _liveness() -> dict[str, Any]:
    """As patient as kubeadm's: a restart takes every name away, which is worse than a slow answer."""
    patience = {"initialDelaySeconds": 60, "timeoutSeconds": 5, "failureThreshold": 5}
    return {"httpGet": {"path": "/health", "port": 8080}, **patience}


def _service() -> dict[str, Any]:
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp"},
    ]
    spec = {"clusterIP": at.DNS_SERVICE, "selector": _LABELS, "ports": ports}
    metadata = {"name": "kube-dns", "namespace": "kube-system", "labels": _LABELS}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
