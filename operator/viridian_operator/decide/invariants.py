"""The invariants of the blue-green protocol, as far as one status and one look at the cluster can tell.

They are watched in every pass (condition ``InvariantViolated``) and are the oracle of the simulated world
and of the explorer. Each one is chosen so that a correct operator cannot be found in breach of it
whatever the cluster does and wherever a pass ends early: status is written before its effects, so the
picture may be one pass behind status, never ahead of it. What somebody else broke and this very pass
restores (a selector, a deleted child) is told by its own Event and is none of these.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import CONTENDS, Kind, ModelUpdateStatus, Phase, Revision, Update
from viridian_operator.decide.capacity import replaces, swaps
from viridian_operator.decide.gaps import begin_after
from viridian_operator.decide.observation import Observation, PodView

_MOVING = frozenset({Phase.SWITCHING, Phase.ROLLING_BACK})
_SWITCHED = frozenset({Phase.SWITCHING, Phase.BAKING})
_STANDING_BY = frozenset({Phase.BAKING, Phase.ROLLING_BACK})


@dataclass(frozen=True)
class Picture:
    """What a predicate looks at."""

    spec: ModelUpdateSpec
    status: ModelUpdateStatus
    seen: Observation


@dataclass(frozen=True)
class Violation:
    """An invariant that does not hold: its name, and one sentence about what was found."""

    invariant: str
    message: str


def one_revision_answers(p: Picture) -> str:
    """Endpoints of the active Service are of one revision unless traffic is being moved (1, 5).

    Only while the Service selects what status says: another selector is restored in this pass.
    Ready endpoints of two revisions are two versions answering, whoever caused it.
    """
    service, active, update = p.seen.active_service, p.status.active, p.status.update
    if service is None or active is None or service.revision != active.hash:
        return ""
    if update and update.phase in _MOVING:
        return ""
    others = sorted(set(service.endpoints) - {active.hash})
    if not others or active.hash not in service.endpoints:
        return ""  # endpoints that follow a selector late are all of the one that was left
    return f"Service {service.name} has ready endpoints of {active.hash} and of {', '.join(o or '?' for o in others)}"


def gate_passed(p: Picture) -> str:
    """A new version gets a revision only after a Pass or a recorded override (2).

    A followed one that nobody gave data to judge by has no window.
    """
    update = p.status.update
    if update is None or update.green is None or update.kind not in CONTENDS:
        return ""
    if update.kind is Kind.FOLLOW and update.window is None:
        return ""
    verdict = update.evaluation
    if verdict is not None and (verdict.verdict == "Pass" or verdict.overridden_by):
        return ""
    word = verdict.verdict if verdict else "none"
    return f"update {update.number} has revision {update.green.hash} with verdict {word}"


def candidate_pinned(p: Picture) -> str:
    """Version and digest of the revision are those that were judged (2)."""
    update = p.status.update
    if update is None or update.green is None or update.candidate is None:
        return ""
    if update.green.model == update.candidate.model:
        return ""
    return f"update {update.number} judged version {update.candidate.version}, but rolls out {update.green.version}"


def verified_before_switch(p: Picture) -> str:
    """Traffic moves only after green was proven at full size (3); a kept revision was proven before."""
    update = p.status.update
    if update is None or update.phase not in _SWITCHED:
        return ""
    needed = {Phase.SCALING} if update.kind is Kind.ROLLBACK else {Phase.VERIFYING, Phase.SCALING}
    skipped = needed - {record.phase for record in update.phases}
    return f"update {update.number} is {update.phase} without {', '.join(sorted(skipped))}" if skipped else ""


def intent_recorded(p: Picture) -> str:
    """While traffic is moved, status says where to (4)."""
    update = p.status.update
    if update is None or update.phase not in _MOVING:
        return ""
    target = update.green if update.phase is Phase.SWITCHING else p.status.previous
    wanted = (target.digest if swaps(update) else target.hash) if target else ""
    if update.intent is not None and target is not None and update.intent.target == wanted:
        return ""
    return f"update {update.number} is {update.phase} without an intent for {target.hash if target else 'a revision'}"


def blue_at_full_size(p: Picture) -> str:
    """The revision to go back to can carry the traffic from the switch until the bake has ended (6).

    Measured by the smallest of the size that is asked for, green's and the one it had before the switch, so that
    neither a new ``replicas`` nor a pass that ended early counts. A deleted Deployment is being restored.
    ``Recreate`` waives it.
    """
    update, blue = p.status.update, _stands_by(p.status)
    if update is None or blue is None or replaces(update):
        return ""
    standby = (update.replicas or 1) if update.standby is None else update.standby
    wanted = min(p.spec.serving.replicas, update.replicas or 1, standby)
    found = p.seen.deployment_of(blue.hash)
    if found is None or found.replicas >= wanted:
        return ""
    return f"version {blue.version} stands by with {found.replicas} of {wanted} replicas during {update.phase}"


def _stands_by(status: ModelUpdateStatus) -> Revision | None:
    """What the traffic is or was taken from, and would be given back to."""
    update = status.update
    if update and update.phase is Phase.SWITCHING and update.intent:
        source = update.intent.source
        return next((each for each in (status.active, status.previous) if each and each.hash == source), None)
    return status.previous if update and update.phase in _STANDING_BY else None


def green_is_active(p: Picture) -> str:
    """While it bakes or goes back, the active revision is the update's (4, 8)."""
    update, active = p.status.update, p.status.active
    if update is None or update.phase not in _STANDING_BY:
        return ""
    green = update.green
    if active is not None and green is not None and (active.hash, active.model) == (green.hash, green.model):
        return ""
    return f"update {update.number} is {update.phase}, but {active.hash if active else 'nothing'} is active"


def roles_distinct(p: Picture) -> str:
    """What stands by for a rollback is another revision than the one it would replace (6)."""
    active, previous = p.status.active, p.status.previous
    if active is None or previous is None or (active.hash, active.digest) != (previous.hash, previous.digest):
        return ""
    return f"revision {active.hash} is active and previous at once"


def quarantine_respected(p: Picture) -> str:
    """No update rolls out a new digest that is in quarantine (8).

    Exempt are people's decisions (pin, rollback) and a revision that keeps the traffic because there
    was nothing to go back to: that update has failed, and only running and succeeded ones are judged.
    """
    update = p.status.update
    if update is None or update.green is None or update.kind not in CONTENDS:
        return ""
    if not update.running and update.phase is not Phase.SUCCEEDED:
        return ""
    entry = p.status.quarantined(update.green.digest)
    return f"update {update.number} serves version {entry.version}, in quarantine: {entry.reason}" if entry else ""


def lineage_together(p: Picture) -> str:
    """Champion, watermark and wanted alias move together, with promotions only (8).

    What is followed may be the champion already, which a pin or a person had taken out of service.
    """
    update, champion = p.status.update, p.status.champion
    if champion is None:
        return ""
    alias = p.status.aliases.wanted.get("champion", champion.version)
    if alias != champion.version:
        return f"the champion is version {champion.version}, alias champion is wanted at {alias}"
    if update is None or update.candidate is None or update.kind not in CONTENDS:
        return ""
    crowned = champion.model == update.candidate.model
    if update.phase is not Phase.SUCCEEDED:
        early = crowned and update.parent != champion.model
        return f"update {update.number} is {update.phase}, but its version is champion" if early else ""
    if crowned and champion.watermark == update.candidate.trained_to:
        return ""
    return f"update {update.number} succeeded, but champion or watermark is another one's"


def record_before_flip(p: Picture) -> str:
    """No pod is told to serve another version before the ConfigMap says so to those that start (4, hot swap).

    Judged by what Viridian itself wrote there: an edit is restored in this pass.
    """
    update = p.status.update
    if update is None or update.green is None or not swaps(update) or update.phase not in _SWITCHED:
        return ""
    deployment = p.seen.deployment_of(update.green.hash)
    serves = deployment.serves if deployment else None
    if serves is None or serves.digest == update.green.digest:
        return ""
    flipped = [pod for pod in p.seen.pods_of(update.green.hash) if _serves(pod, update.green.digest)]
    if update.phase is Phase.SWITCHING and not flipped:
        return ""
    return f"{len(flipped)} pods serve version {update.green.version}, but ConfigMap and status name {serves.version}"


def from_or_to_answers(p: Picture) -> str:
    """In a hot swap a ready pod answers with the old or the new version, and only with the new one while it bakes (1).

    Judged by what pods have loaded: one that names another digest than it holds is found by its proof.
    """
    update, active, previous = p.status.update, p.status.active, p.status.previous
    if update is None or update.green is None or not swaps(update) or update.phase not in _SWITCHED | _MOVING:
        return ""
    old = active if update.phase is Phase.SWITCHING else previous
    allowed = {update.green.digest} | ({old.digest} if old and update.phase is not Phase.BAKING else set())
    for pod in p.seen.pods_of(update.green.hash):
        if pod.ready and pod.identity and not any(_serves(pod, digest) for digest in allowed) and _honest(pod):
            return f"{pod.name} serves version {pod.identity.version} during {update.phase}"
    return ""


def _serves(pod: PodView, digest: str) -> bool:
    return pod.identity is not None and pod.identity.digest == digest


def _honest(pod: PodView) -> bool:
    return pod.identity is not None and pod.identity.resident(pod.identity.digest) is not None


def replicas_agree(p: Picture) -> str:
    """Pods of what serves that follow a chain and are at the same sequence have the same Merkle root, which is the
    published one.

    Each pod tells both of the one snapshot that answers, and repairs its memory itself; the trainer tells both of the
    one head that it published. A sequence (epoch and number) of a chain has one root for ever, so they may be asked at
    different moments: another root at the same place is another history of the chain. Who is elsewhere is late.
    """
    active = p.status.active
    if active is None or not active.chain:
        return ""
    roots = _published(p, active.chain)
    for pod in p.seen.pods_of(active.hash):
        if pod.identity is None or not pod.ready or not pod.identity.root:
            continue
        name, root = roots.setdefault(pod.identity.sequence, (pod.name, pod.identity.root))
        if root != pod.identity.root:
            return f"{name} and {pod.name} are at sequence {pod.identity.sequence} with different Merkle roots"
    return ""


def _published(p: Picture, chain: str) -> dict[str, tuple[str, str]]:
    """Whose word it is, and the root, by sequence: the head, if the trainer that answered writes ``chain``.

    Its Deployment does not tell: for a moment after a change of chain the pod is still the one of before.
    """
    said = p.seen.online.report if p.seen.online else None
    if said is None or said.chain != chain or not said.root:
        return {}
    return {said.sequence: ("the published head", said.root)}


def windows_contiguous(p: Picture) -> str:
    """An incremental window begins where the champion's ended, or behind a gap that a person recorded."""
    update, champion = p.status.update, p.status.champion
    if update is None or not update.running or update.kind is not Kind.INCREMENTAL or update.window is None:
        return ""
    if champion is None or update.parent != champion.model:
        return f"update {update.number} starts from another version than the champion"
    if update.window.start == begin_after(champion, p.status.gaps):
        return ""
    return f"the window of update {update.number} does not begin where version {champion.version} ended"


def phase_is_bounded(p: Picture) -> str:
    """Every phase has a deadline, and an ended update owes nothing (13)."""
    update = p.status.update
    if update is None:
        return ""
    return _unbounded(update) if update.running else _unfinished(update)


def _unbounded(update: Update) -> str:
    return "" if update.deadline else f"update {update.number} is {update.phase} without a deadline"


def _unfinished(update: Update) -> str:
    left = update.intent or update.deadline or update.total_deadline or update.finished_at is None
    return f"update {update.number} is {update.phase}, but its intent or deadline is left" if left else ""


#: the name is the reason of the condition and the label of the metric
INVARIANTS: dict[str, Callable[[Picture], str]] = {
    "OneRevisionAnswers": one_revision_answers,
    "GatePassed": gate_passed,
    "CandidatePinned": candidate_pinned,
    "VerifiedBeforeSwitch": verified_before_switch,
    "IntentRecorded": intent_recorded,
    "BlueAtFullSize": blue_at_full_size,
    "GreenIsActive": green_is_active,
    "RecordBeforeFlip": record_before_flip,
    "FromOrToAnswers": from_or_to_answers,
    "RolesDistinct": roles_distinct,
    "QuarantineRespected": quarantine_respected,
    "LineageTogether": lineage_together,
    "ReplicasAgree": replicas_agree,
    "WindowsContiguous": windows_contiguous,
    "PhaseIsBounded": phase_is_bounded,
}


def violations(spec: ModelUpdateSpec, status: ModelUpdateStatus, seen: Observation) -> tuple[Violation, ...]:
    """What does not hold, in the order of ``INVARIANTS``; empty when all is well, or nothing may be touched."""
    if seen.taken or seen.deleting:
        return ()
    picture = Picture(spec, status, seen)
    found = ((name, holds(picture)) for name, holds in INVARIANTS.items())
    return tuple(Violation(name, message) for name, message in found if message)
