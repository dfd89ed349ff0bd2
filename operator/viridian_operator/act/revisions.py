"""Effects on the objects of a revision."""

from __future__ import annotations

from viridian_operator.act.children import Children
from viridian_operator.act.errors import NameTaken, StillReferred
from viridian_operator.act.manifests.deployment import deployment
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.revision import (
    NO_GOLDEN,
    disruption_budget,
    record,
    record_data,
    recorded_deployment,
    recovered_deployment,
    serves,
    sized,
)
from viridian_operator.act.services import ensure_admin_secret
from viridian_operator.api import names
from viridian_operator.api.serves import read_serves
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Revision
from viridian_operator.decide.decision import DeleteRevision, EnsureRevision
from viridian_operator.kube.resources import CONFIG_MAP, DEPLOYMENT, POD_DISRUPTION_BUDGET, SERVICE, Manifest


async def ensure_revision(children: Children, spec: ModelUpdateSpec, owner: Owner, action: EnsureRevision) -> None:
    """Record first, then which version to serve where that changes, then the Deployment that is taken from the record,
    then its disruption budget."""
    revision = action.revision
    config_map = await children.find(CONFIG_MAP, revision.deployment)
    if config_map is not None and not children.owns(config_map):
        raise NameTaken(CONFIG_MAP.kind, revision.deployment)
    rendered = recorded_deployment(config_map) if config_map else None
    if config_map is None or rendered is None:
        rendered = await _render(children, spec, owner, revision)
        data = record_data(spec, revision, rendered, _golden(children, action, revision.digest))
    else:
        data = config_map["data"]
    desired = record(spec, owner, revision, data)
    if config_map is not None and children.changes_hands(desired, config_map):
        # while every pod is ready nothing else asks for it, and a pod that starts needs it
        await ensure_admin_secret(children, spec, owner)
    await children.ensure(desired)
    if revision.swappable:
        await _ensure_serves(children, spec, owner, action)
    serving = revision if revision.swappable else None
    await children.ensure(sized(rendered, spec, owner, replicas=action.replicas, role=action.role, serving=serving))
    await children.ensure(disruption_budget(spec, owner, revision))


async def _render(children: Children, spec: ModelUpdateSpec, owner: Owner, revision: Revision) -> Manifest:
    """A Deployment that stands is kept as it is: a lost record is no reason to restart what serves."""
    live = await children.find(DEPLOYMENT, revision.deployment)
    if live is None:
        return deployment(spec, owner, revision)
    if not children.owns(live):
        raise NameTaken(DEPLOYMENT.kind, revision.deployment)
    return recovered_deployment(live)


async def _ensure_serves(children: Children, spec: ModelUpdateSpec, owner: Owner, action: EnsureRevision) -> None:
    """Golden requests that nobody can tell yet are left out: those of a candidate come with a later pass."""
    revision, name = action.revision, names.serves(action.revision.deployment)
    live = await children.find(CONFIG_MAP, name)
    if live is not None and not children.owns(live):
        raise NameTaken(CONFIG_MAP.kind, name)
    golden = {digest: _golden(children, action, digest) for digest in (revision.digest, *action.standby)}
    standby = {digest: golden[digest] for digest in action.standby if golden[digest]}
    await children.ensure(serves(spec, owner, revision, golden[revision.digest], standby))


def _golden(children: Children, action: EnsureRevision, digest: str) -> str:
    """Golden requests of a digest: as the registry told in this pass, or as a record of ours has them, so that neither
    a Redeploy nor the way back needs the registry; "" if nobody can tell."""
    if action.golden_of == digest:
        return action.golden or NO_GOLDEN
    said = (read_serves(config_map) for config_map in children.seen(CONFIG_MAP))
    return next((each.golden[digest] for each in said if each and digest in each.golden), "")


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
    await children.delete(CONFIG_MAP, names.serves(action.deployment))
    await children.delete(CONFIG_MAP, action.deployment)
