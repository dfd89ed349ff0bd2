"""The ModelUpdate of the fault tests: light images, short times."""

from __future__ import annotations

import functools
import json
import os
from typing import Any

from loop.manifests import merged, model_update

from viridian_demo.commands import local

FAULT = "fault"
REPLICAS = 3
MEMORY = "64Mi"
BAKE = 4

Manifest = dict[str, Any]


def light_update(space: str, registry: str, redis: str, /, **changes: Any) -> Manifest:
    """One served model; ``changes`` are merged into its spec."""
    spec: Manifest = {
        "deletionPolicy": "Retain",
        "registry": {"trackingURI": registry},
        "trigger": {"onSpecChange": False},
        "data": {"source": {"redisStream": {"url": redis}}},
        "training": {"template": _template("trainer"), "config": {"batchSize": None, "learningRate": None}},
        "serving": {"replicas": REPLICAS, "template": server()},
        "rollout": {"bake": {"duration": f"{BAKE}s", "interval": "1s", "failureLimit": 2, "deadline": "30s"}},
    }
    return merged(model_update(space), merged({"spec": spec}, {"spec": changes}))


def server(**changes: Any) -> Manifest:
    """Its serving template; ``changes`` are merged into the container."""
    reference = {"configMapKeyRef": {"name": FAULT, "key": FAULT, "optional": True}}
    # quick to see a fault, but patient with a machine that is busy
    times = {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 5}
    probe = {"httpGet": {"path": "/v2/health/ready", "port": 8080}, **times}
    more = {"env": [{"name": "VIRIDIAN_FAULT", "valueFrom": reference}], "readinessProbe": probe}
    return _template("server", **more, **changes)


def fault_map(faults: dict[str, Any]) -> Manifest:
    """Faults of the start by version, see the light image."""
    data = {FAULT: json.dumps(faults)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": FAULT}, "data": data}


@functools.cache
def light_image() -> str:
    """Name of the light image, built and given to the local cluster if need be."""
    if registry := os.environ.get("VIRIDIAN_IMAGES"):
        return f"{registry}/light:{os.environ.get('VIRIDIAN_TAG', 'latest')}"
    return local("images", "light").splitlines()[-1]


def _template(name: str, **more: Any) -> Manifest:
    spec = {"terminationGracePeriodSeconds": 15, "containers": [_container(name, **more)], "volumes": []}
    return {"spec": spec}


def _container(name: str, **more: Any) -> Manifest:
    resources = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": MEMORY}}
    return {"name": name, "image": light_image(), "resources": resources, **more}
