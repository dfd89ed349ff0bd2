"""A lost status is rebuilt from what serves; nothing is trained, switched or scaled before that."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Champion, Colour, Revision
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.observation import DeploymentView, RegisteredVersion
from viridian_operator.decide.window import total

_ASK_AGAIN = 5.0


def recover(d: Draft) -> None:
    """Find what serves if status does not say, then its lineage in the registry."""
    if d.status.active is None and not d.running and (found := _serving(d)):
        _adopt(d, found)
        d.look_at(d.now)
    elif d.status.recovering:
        _recover_champion(d, d.status.recovering)


def _serving(d: Draft) -> DeploymentView | None:
    """The Deployment that the active Service selects; if that selects none of ours, and only if status
    is gone altogether, the oldest one with ready pods: an edited selector says nothing about what served."""
    service = d.seen.active_service
    if service is not None and not service.owned:
        return None
    if service is not None and service.revision and (found := d.seen.deployment_of(service.revision)):
        return found
    if d.status.update is not None:
        return None
    ready = [x for x in d.seen.deployments if d.seen.ready_of(x.revision)]
    return min(ready, key=lambda x: x.created, default=None)


def _adopt(d: Draft, found: DeploymentView) -> None:
    revision = Revision(
        version=found.version,
        digest=found.digest,
        hash=found.revision,
        template_hash=found.template_hash,
        deployment=found.name,
        colour=Colour(found.colour),
        event_time=found.event_time,
        since=found.created,
    )
    seen = {"template": found.template_hash, **d.status.seen}
    d.put(active=revision, recovering=found.version, seen=seen)
    d.note(
        Reason.STATUS_RECOVERED,
        f"version {found.version} was found serving; status is rebuilt around it",
        warn=True,
    )


def _recover_champion(d: Draft, version: str) -> None:
    registry = d.seen.registry
    if registry.last_number is not None:
        d.put(seen={**d.status.seen, "number": str(registry.last_number)})
    if d.status.champion is not None or registry.lacks(f"version:{version}"):
        d.put(recovering=None)
    elif registry.version is None or registry.version.version != version or registry.aliases is None:
        d.look_after(_ASK_AGAIN)
    elif registry.aliases.get("champion", version) != version:
        # what serves never passed its bake, or was pinned: the lineage goes on from the champion
        d.put(recovering=registry.aliases["champion"])
    else:
        d.put(champion=_champion(registry.version), recovering=None)


def _champion(version: RegisteredVersion) -> Champion | None:
    if not version.trained_to or not version.digest:
        return None
    return Champion(
        version=version.version,
        digest=version.digest,
        watermark=version.trained_to,
        event_time=version.event_time,
        total=total(version.trained_to),
    )
