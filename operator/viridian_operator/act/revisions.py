"""Effects on the objects of a revision."""

from __future__ import annotations

from viridian_operator.act.children import Children
from viridian_operator.act.errors import NameTaken, StillReferred
from viridian_operator.act.manifests.deployment import deployment
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.revision import (
    GOLDEN_FILE,
    disruption_budget,
    record,
    record_data,
    recorded_deployment,
    recovered_deployment,
    sized,
)
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Revision
from viridian_operator.decide.decision import DeleteRevision, EnsureRevision
from viridian_operator.kube.resources import CONFIG_MAP, DEPLOYMENT, POD_DISRUPTION_BUDGET, SERVICE, Manifest


async def ensure_revision(children: Children, spec: ModelUpdateSpec, owner: Owner, action: EnsureRevision) -> None:
    """Record first, then the Deployment that is taken from it, then its disruption budget."""
    revision = action.revision
    config_map = await children.find(CONFIG_MAP, revision.deployment)
    if config_map is not None and not children.owns(config_map):
        raise NameTaken(CONFIG_MAP.kind, revision.deployment)
    rendered = recorded_deployment(config_map) if config_map else None
    if config_map is None or rendered is None:
        rendered = await _render(children, spec, owner, revision)
        data = record_data(spec, revision, rendered, action.golden or _golden_of_twin(children, revision))
    else:
        data = config_map["data"]
    await children.ensure(record(spec, owner, revision, data))
    await children.ensure(sized(rendered, spec, owner, replicas=action.replicas, role=action.role))
    await children.ensure(disruption_budget(spec, owner, revision))


async def _render(children: Children, spec: ModelUpdateSpec, owner: Owner, revision: Revision) -> Manifest:
    """A Deployment that stands is kept as it is: a lost record is no reason to restart what serves."""
    live = await children.find(DEPLOYMENT, revision.deployment)
    if live is None:
        return deployment(spec, owner, revision)
    if not children.owns(live):
        raise NameTaken(DEPLOYMENT.kind, revision.deployment)
    return recovered_deployment(live)


def _golden_of_twin(children: Children, revision: Revision) -> str:
    """Golden requests from another revision of the same digest, so that a Redeploy needs no registry."""
    for config_map in children.seen(CONFIG_MAP):
        annotations = config_map["metadata"].get("annotations") or {}
        if annotations.get(names.ANNOTATION_DIGEST) == revision.digest:
            return str((config_map.get("data") or {}).get(GOLDEN_FILE, ""))
    return ""


async def delete_revision(children: Children, spec: ModelUpdateSpec, owner: Owner, action: DeleteRevision) -> None:
    """Delete what nothing refers to, after one more look at both Services.

    Raises
    ------
    StillReferred
        If a Service selects the revision at this moment.
    """
    services = spec.serving.services
    for name in (
        names.active_service(owner.name, services.active),
        names.preview_service(owner.name, services.preview),
    ):
        service = await children.read(SERVICE, name)
        selector = ((service or {}).get("spec") or {}).get("selector") or {}
        if selector.get(names.REVISION) == action.revision:
            raise StillReferred(f"Service {name} selects revision {action.revision}, which was to be deleted")
    await children.delete(POD_DISRUPTION_BUDGET, action.deployment)
    await children.delete(DEPLOYMENT, action.deployment)
    await children.delete(CONFIG_MAP, action.deployment)
