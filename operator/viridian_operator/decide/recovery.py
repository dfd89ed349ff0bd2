"""A lost status, or one from an old backup, is rebuilt from what serves; nothing is trained, switched or
scaled before that."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import Strategy
from viridian_operator.api.status import Aliases, Backoff, Champion, Colour, Phase, Quarantined, Revision
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.numbering import next_number
from viridian_operator.decide.observation import DeploymentView, RegisteredVersion
from viridian_operator.decide.requests import refuse_unknown_request
from viridian_operator.decide.tags import LIFTED, PROMOTED, QUARANTINE
from viridian_operator.decide.window import total


def recover(d: Draft) -> None:
    """Find what serves if status does not say, then its lineage in the registry."""
    # Jobs of a lost status are cleaned up; their numbers are never used again
    _remember_number(d, max((job.number for job in d.seen.jobs), default=0))
    if d.status.active is None and not d.running and (found := _serving(d)):
        _adopt(d, found)
        d.look_at(d.now)
    elif found := _newer_than_status(d):
        _forget_old(d)
        _adopt(d, found)
        d.look_at(d.now)
    elif d.status.recovering:
        _recover_champion(d, d.status.recovering)


def _remember_number(d: Draft, number: int) -> None:
    if number >= next_number(d.status):
        d.put(seen={**d.status.seen, "number": str(number)})


def _serving(d: Draft) -> DeploymentView | None:
    """The Deployment that Viridian last made the active Service select, by its record there; without a record
    the one that it selects; if neither exists, and only if status is gone altogether, the oldest one with ready
    pods: an edited selector says nothing about what served."""
    service = d.seen.active_service
    if service is not None and not service.owned:
        return None
    for revision in (service.recorded, service.revision) if service is not None else ():
        if revision and (found := d.seen.deployment_of(revision)):
            return found
    if d.status.update is not None:
        return None
    ready = [x for x in d.seen.deployments if d.seen.ready_of(x.revision)]
    return min(ready, key=lambda x: x.created, default=None)


def _newer_than_status(d: Draft) -> DeploymentView | None:
    """What serves, if status is from before it took over.

    The Service records which revision Viridian made it select (in a hot swap, a ConfigMap which version it made pods
    serve). A selector that agrees with this record but
    with nothing that status knows of was written after that status; one that disagrees was edited by
    somebody, and is restored from status.
    """
    service, status = d.seen.active_service, d.status
    if status.active is None or service is None or not service.owned or service.revision is None:
        return None
    green = d.update.green if d.running else None
    known = {revision.hash for revision in (status.active, status.previous, green) if revision}
    found = d.seen.deployment_of(service.revision)
    if service.revision != service.recorded or found is None:
        return None
    return found if service.revision not in known or _swapped_since(d, found) else None


def _swapped_since(d: Draft, found: DeploymentView) -> bool:
    """Whether Viridian made its pods serve a version that status knows nothing of, which a hot swap leaves as the only
    trace; what somebody else wrote there is restored from status."""
    status, serves = d.status, found.serves
    if serves is None or serves.starting != serves.digest:
        return False
    green = status.update.green if status.update else None
    known = (status.active, status.previous, green)
    return serves.digest not in {each.digest for each in known if each and each.hash == found.revision}


def _forget_old(d: Draft) -> None:
    """Lineage and update of an old status are not the ones of what serves; the registry tells the right ones."""
    if d.running:
        finish(d, Phase.SUPERSEDED, Reason.STATUS_RECOVERED, "status is older than what serves")
    newest = next_number(d.status) - 1
    d.put(
        update=None,
        previous=None,
        champion=None,
        previous_champion=None,
        reference=None,
        pending_trigger=None,
        backoff=Backoff(),
        aliases=Aliases(),
    )
    _remember_number(d, newest)


def _adopt(d: Draft, found: DeploymentView) -> None:
    revision = Revision(
        version=found.version,
        digest=found.digest,
        hash=found.revision,
        template_hash=found.template_hash,
        graph=found.serves.graph if found.serves else "",
        swappable=found.swappable,
        chain=found.chain,
        deployment=found.name,
        colour=Colour(found.colour),
        event_time=found.event_time,
        since=found.created,
    )
    seen = {"template": found.template_hash, **d.status.seen}
    d.put(active=revision, recovering=found.version, seen=seen)
    refuse_unknown_request(d)
    d.note(
        Reason.STATUS_RECOVERED,
        f"version {found.version} was found serving; status is rebuilt around it",
        warn=True,
    )


def _recover_champion(d: Draft, version: str) -> None:
    registry = d.seen.registry
    if registry.last_number is not None:
        _remember_number(d, registry.last_number)
    if d.status.champion is not None or registry.lacks(f"version:{version}"):
        d.put(recovering=None)
    elif registry.version is None or registry.version.version != version or registry.aliases is None:
        d.ask_again()
    else:
        _choose_champion(d, registry.version, registry.aliases.get("champion"))


def _choose_champion(d: Draft, found: RegisteredVersion, alias: str | None) -> None:
    """The version that the alias names, or else what serves; only one that was promoted.

    An alias can be moved by a person while nobody remembers where it belongs, and is no instruction to serve.
    """
    active, disowned = d.status.active, d.status.aliases.foreign.get("champion")
    if alias and alias not in (found.version, disowned):
        d.put(recovering=alias)
    elif PROMOTED in found.tags:
        _remember_quarantine(d, found)
        d.put(champion=_champion(d, found), recovering=None)
        if disowned:
            d.put(aliases=d.status.aliases.but(wanted={"champion": found.version}, confirmed=True))
    elif alias == found.version and active and active.version != alias:
        d.put(aliases=Aliases(foreign={"champion": alias}), recovering=active.version)
    else:
        d.put(recovering=None)  # nothing ever passed its bake: the next update is the first of its lineage


def _remember_quarantine(d: Draft, version: RegisteredVersion) -> None:
    """The registry knows of quarantines that a lost status does not."""
    reason = version.tags.get(QUARANTINE, LIFTED)
    if reason != LIFTED and d.status.quarantined(version.digest) is None:
        entry = Quarantined(digest=version.digest, version=version.version, reason=reason, update=0, at=d.now)
        d.put(quarantine=[*d.status.quarantine, entry])


def _champion(d: Draft, version: RegisteredVersion) -> Champion | None:
    elsewhere = d.spec.strategy is Strategy.REGISTRY  # what was trained elsewhere need not say how far
    if not version.digest or not (version.trained_to or elsewhere):
        return None
    return Champion(
        version=version.version,
        digest=version.digest,
        watermark=version.trained_to,
        event_time=version.event_time,
        total=total(version.trained_to) if version.trained_to else None,
    )
