"""The two Services that Viridian owns."""

from __future__ import annotations

from viridian_operator.act.manifests.deployment import selector
from viridian_operator.act.manifests.owner import SERVING, Owner
from viridian_operator.act.manifests.revision import is_owned
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import EnsureService
from viridian_operator.kube.resources import Manifest


def service(spec: ModelUpdateSpec, owner: Owner, action: EnsureService, target_port: int) -> Manifest:
    """A Service that selects one revision; EndpointSlices inherit its labels.

    ``target_port`` is the port of that revision, which selector and port follow in one write.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(
            action.name,
            SERVING,
            labels={names.ROLE: action.role},
            annotations={names.ANNOTATION_SELECTED: action.revision},
            owned=is_owned(spec),
        ),
        "spec": {
            "selector": selector(owner, action.revision),
            "ports": [{"name": "http", "port": names.SERVICE_PORT, "protocol": "TCP", "targetPort": target_port}],
        },
    }
