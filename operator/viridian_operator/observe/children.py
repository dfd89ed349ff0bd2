"""Live reads of the children of a ModelUpdate, and of whatever stands where one of them should."""

from __future__ import annotations

import asyncio

from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import NotFound
from viridian_operator.kube.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    JOB,
    POD,
    POD_DISRUPTION_BUDGET,
    SERVICE,
    Key,
    Manifest,
    Resource,
)
from viridian_operator.observe.needs import Needs
from viridian_operator.observe.sight import Raw, indexed

_ALWAYS = (DEPLOYMENT, POD, SERVICE, ENDPOINT_SLICE, CONFIG_MAP, POD_DISRUPTION_BUDGET)


def service_names(key: Key, spec: ModelUpdateSpec) -> tuple[str, str]:
    """Names of the active and of the preview Service."""
    services = spec.serving.services
    return names.active_service(key.name, services.active), names.preview_service(key.name, services.preview)


def expected_deployment(status: ModelUpdateStatus, needs: Needs) -> str:
    """Name of the Deployment that this pass may create; "" if none."""
    update = status.update
    return update.green.deployment if needs.unless_deployed and update and update.green else ""


async def read_children(
    cluster: Cluster, key: Key, spec: ModelUpdateSpec, status: ModelUpdateStatus, needs: Needs
) -> Raw:
    """All labelled children, in one list per kind, and unlabelled objects that have the names of children.

    Raises
    ------
    ApiError
        If any read fails; a part of the picture is none.
    """
    kinds = (*_ALWAYS, JOB) if needs.jobs else _ALWAYS
    labels = {names.MODEL_UPDATE: key.name}
    lists = await asyncio.gather(*(cluster.list(kind, key.namespace, labels) for kind in kinds))
    raw = indexed(obj for objects in lists for obj in objects)
    wanted = [(SERVICE, name) for name in service_names(key, spec)]
    if deployment := expected_deployment(status, needs):
        wanted.append((DEPLOYMENT, deployment))
    missing = [(kind, name) for kind, name in wanted if (kind.kind, name) not in raw]
    found = await asyncio.gather(*(_get(cluster, kind, key.namespace, name) for kind, name in missing))
    return raw | indexed(obj for obj in found if obj is not None)


async def _get(cluster: Cluster, kind: Resource, namespace: str, name: str) -> Manifest | None:
    try:
        return await cluster.get(kind, namespace, name)
    except NotFound:
        return None
