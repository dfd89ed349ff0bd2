"""Manifests of the tests: small models, short times."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from typing import Any

from loop.appending import PARTITIONS
from loop.installing import LOG_URL, REGISTRY_URI
from viridian_demo.install import image

NAME = "ctr"
PLUGINS = "plugins"
INPUTS = "user:300,item:200,hour:24"
#: A pod that a busy machine kept from running for some seconds finds all requests of these at once. With the default
#: of 512 it would refuse the rest, which is no fault of an update.
IN_FLIGHT = "8192"
_PLUGIN_DIR = "/opt/plugins"
_EXAMPLE = {"user": "u1", "item": "i1", "hour": "7"}

Manifest = dict[str, Any]


def model_update(space: str, **changes: Any) -> Manifest:
    """A ModelUpdate whose model and stream are named after the namespace; ``changes`` are merged into its spec.

    ``None`` removes a field. A first model takes 4000 events.
    """
    spec: Manifest = {
        "model": {"name": space},
        "registry": {"trackingURI": REGISTRY_URI},
        "trigger": {"newEvents": 1_000_000},
        "data": {
            "source": {"redisStream": {"url": LOG_URL, "stream": space, "partitions": PARTITIONS}},
            "schema": {"categorical": ["user", "item", "hour"]},
            "holdout": {"fraction": 0.2},
        },
        "training": _training(),
        "gate": {"margin": 0.2, "minEvents": 300, "onInconclusive": "Reject"},
        "serving": {"replicas": 1, "template": server()},
        "rollout": _rollout(space),
    }
    return {
        "apiVersion": "viridian.dev/v1alpha1",
        "kind": "ModelUpdate",
        "metadata": {"name": NAME, "namespace": space},
        "spec": merged(spec, changes),
    }


def merged(old: Manifest, new: Manifest) -> Manifest:
    """``old`` with ``new`` merged into it: lists are replaced, ``None`` removes."""
    result = copy.deepcopy(old)
    for key, value in new.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def trainer(*, env: list[Manifest] | None = None, picture: str = "", resources: Manifest | None = None) -> Manifest:
    """A pod template that trains, with the plug-ins of the demo on its path."""
    needed = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}}
    container = {
        "name": "trainer",
        "image": picture or image("trainer"),
        "env": [_path(), *(env or [])],
        "resources": merged(needed, resources or {}),
        "volumeMounts": [_mount()],
    }
    return {"spec": {"containers": [container], "volumes": [_volume()]}}


def sleeper() -> Manifest:
    """A pod template that does nothing for longer than any test."""
    template = trainer()
    # the first process of a container has no default action for SIGTERM; a bare sleep would use up the grace period
    waiting = "trap 'exit 143' TERM; sleep 3600 & wait"
    template["spec"]["containers"][0]["command"] = ["sh", "-c", waiting]
    return template


def ending(code: int, reason: str = "") -> Manifest:
    """A pod template that ends at once, with last words in the form of the contract if it has a ``reason``."""
    words = json.dumps({"error": {"reason": reason, "message": "what to change"}}) if reason else ""
    template = trainer(env=[variable("WORDS", words)])
    saying = f'printf %s "$WORDS" > /dev/termination-log; exit {code}'
    template["spec"]["containers"][0]["command"] = ["sh", "-c", saying]
    return template


def unbegun() -> Manifest:
    """A pod template that has a node, but is initialised for longer than any test."""
    template = sleeper()
    spec = template["spec"]
    spec["initContainers"] = [{**spec["containers"][0], "name": "initialising"}]
    return template


def server(*env: Manifest, cpu: str = "50m") -> Manifest:
    """A pod template that serves; ``cpu`` is what it has for sure while everything else on its node is busy."""
    container = {
        "name": "server",
        "image": image("server"),
        "env": [_path(), variable("VIRIDIAN_DRAIN_SECONDS", "3"), *env, variable("VIRIDIAN_MAX_IN_FLIGHT", IN_FLIGHT)],
        "resources": {"requests": {"cpu": cpu, "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [_mount()],
    }
    return {"spec": {"terminationGracePeriodSeconds": 30, "containers": [container], "volumes": [_volume()]}}


def plugins() -> Manifest:
    """The load client and the fragile model of the demo, which are no part of the images."""
    names = ("__init__.py", "fragile.py", "load.py")
    data = {name: (files("viridian_demo") / name).read_text(encoding="utf-8") for name in names}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PLUGINS}, "data": data}


def caller(space: str, rate: int, golden: Manifest) -> list[Manifest]:
    """A pod that calls the model all the time, half over kept connections, and the answers that it must get."""
    options = {
        "url": f"http://{NAME}.{space}/v2/models/{space}/infer",
        "rate": rate,
        "mode": "both",
        "duration": 3600,
        "inputs": INPUTS,
        "golden": "/etc/golden/golden.json",
    }
    container = {
        "name": "caller",
        "image": image("server"),
        "command": ["python3", "-m", "viridian_demo.load", "--live"],
        "args": [f"--{name}={value}" for name, value in options.items()],
        "env": [_path()],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [
            _mount(),
            {"name": "golden", "mountPath": "/etc/golden"},
        ],
    }
    expected = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "golden"},
        "data": {"golden.json": json.dumps(golden)},
    }
    return [expected, pod("caller", container, [_volume(), {"name": "golden", "configMap": {"name": "golden"}}])]


def pod(name: str, container: Manifest, volumes: list[Manifest] | None = None) -> Manifest:
    """A pod that keeps the restricted pod security standard."""
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 20,
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{**container, "securityContext": security}],
            "volumes": volumes or [],
        },
    }


def holder(resources: Manifest, **spec: Any) -> Manifest:
    """A pod that does nothing but keep ``resources``; ``spec`` goes into that of the pod."""
    program = "import signal; signal.pause()"
    image_of, command = image("operator"), ["python3", "-c", program]
    made = pod("holder", {"name": "holder", "image": image_of, "command": command, "resources": resources})
    return merged(made, {"spec": spec})


def variable(name: str, value: str) -> Manifest:
    """An environment variable."""
    return {"name": name, "value": value}


def _training() -> Manifest:
    return {
        "deadlines": {"queued": "3m", "running": "5m"},
        "retries": {"infrastructure": 1, "code": 0},
        "config": {"batchSize": 128, "learningRate": 0.05},
        "template": trainer(),
    }


def _rollout(model: str) -> Manifest:
    tensors = [{"name": name, "datatype": "BYTES", "shape": [1], "data": [value]} for name, value in _EXAMPLE.items()]
    probe = {"path": f"/v2/models/{model}/infer", "body": {"inputs": tensors}, "expect": {"status": 200}}
    return {
        "preview": {"replicas": 1},
        "deadlines": {"schedule": "2m", "load": "3m", "verify": "1m", "switch": "1m"},
        "bake": {"duration": "8s", "interval": "2s", "failureLimit": 0, "deadline": "2m"},
        "healthChecks": [
            {"name": "ready", "readyPercent": 100},
            {"name": "golden", "golden": True},
            {"name": "answers", "probe": probe},
        ],
        "keepPrevious": {"replicas": 1, "for": "1h"},
    }


def _path() -> Manifest:
    return variable("PYTHONPATH", _PLUGIN_DIR)


def _mount() -> Manifest:
    return {"name": PLUGINS, "mountPath": f"{_PLUGIN_DIR}/viridian_demo"}


def _volume() -> Manifest:
    return {"name": PLUGINS, "configMap": {"name": PLUGINS}}
