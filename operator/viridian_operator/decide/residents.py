"""Versions in the memory of pods: what each pod should serve, what it has loaded, and what to tell it."""

from __future__ import annotations

from collections.abc import Iterator

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Phase, Revision
from viridian_operator.decide.capacity import swaps
from viridian_operator.decide.decision import Action, FlipPods, StageVersion, UnstagePods
from viridian_operator.decide.draft import ASK_AGAIN, Draft
from viridian_operator.decide.observation import PodView
from viridian_operator.decide.revisions import FATAL, PASSING

#: phases in which pods load the candidate of a hot swap and keep it
STAGING = frozenset({Phase.PREPARING, Phase.VERIFYING, Phase.AWAITING_APPROVAL, Phase.SCALING})


def should_serve(d: Draft) -> Revision | None:
    """What the Deployment with the traffic has to serve by status; in a hot swap it changes with the phase."""
    update, status = d.status.update, d.status
    if d.running and swaps(update) and update is not None:
        if update.phase is Phase.SWITCHING:
            return update.green
        if update.phase is Phase.ROLLING_BACK and status.previous:
            return status.previous
    return status.active


def is_recorded(d: Draft, revision: Revision) -> bool:
    """Whether a pod that starts now serves ``revision``, by the ConfigMap of its Deployment."""
    deployment = d.seen.deployment_of(revision.hash)
    serves = deployment.serves if deployment else None
    return serves is not None and serves.starting == serves.digest == revision.digest


def holds(pod: PodView, digest: str) -> bool:
    """Whether a pod has the version with this digest loaded, verified and warmed up."""
    resident = pod.identity.resident(digest) if pod.identity else None
    return resident is not None and resident.ready


def counted(d: Draft, revision: Revision) -> tuple[PodView, ...]:
    """Pods that a swap has to reach. One without a node will read the ConfigMap when it gets one."""
    return tuple(pod for pod in d.seen.pods_of(revision.hash) if pod.scheduled)


def unanswered(d: Draft, revision: Revision) -> str:
    """Which pod does not answer with ``revision`` yet, and why; "" if all do and there are some."""
    pods = counted(d, revision)
    for pod in pods:
        if not pod.ready:
            return f"{pod.name} is not ready"
        if pod.identity is None:
            return f"{pod.name} did not say what it serves"
        if (pod.identity.version, pod.identity.digest) != (revision.version, revision.digest):
            return f"{pod.name} serves version {pod.identity.version}"
    return "" if pods else f"version {revision.version} has no pods"


def unstaged(d: Draft, green: Revision) -> tuple[Reason, str, bool] | None:
    """Why not every pod has the candidate loaded beside what it serves: reason, sentence, whether that is final."""
    active = d.status.active
    if active is None:
        raise LookupError(f"update {d.update.number} swaps, but nothing is active")
    if waiting := unanswered(d, active):
        return Reason.IDENTITY_MISMATCH, waiting, False
    for pod in counted(d, green):
        if problem := _not_loaded(pod, green):
            return problem
    return None


def _not_loaded(pod: PodView, green: Revision) -> tuple[Reason, str, bool] | None:
    identity = pod.identity
    if identity is None or identity.residents is None:
        return Reason.NOT_SWAPPABLE, f"{pod.name} knows no hot swaps", True
    resident = identity.resident(green.digest)
    if resident is None:
        return Reason.PREPARING, f"{pod.name} has not begun to load version {green.version}", False
    if resident.failed:
        reason = (FATAL | PASSING)[resident.trouble] if resident.trouble else Reason.DEADLINE_EXCEEDED
        return reason, f"{pod.name}: {resident.message}", resident.trouble in FATAL
    if not resident.ready:
        return Reason.PREPARING, f"{pod.name} loads version {green.version}", False
    if resident.version != green.version:
        return Reason.IDENTITY_MISMATCH, f"{pod.name} loaded version {resident.version} as {green.digest}", True
    return None


def calls(d: Draft) -> Iterator[Action]:
    """What pods have to be told so that they serve, and have loaded, what status says; the same in every pass."""
    told = False
    for revision in _kept(d):
        for action in _calls(d, revision):
            told = True
            yield action
    if told and not d.running:
        d.look_after(ASK_AGAIN)


def _kept(d: Draft) -> tuple[Revision, ...]:
    active, previous = should_serve(d), d.status.previous
    apart = previous if active is None or (previous and previous.hash != active.hash) else None
    return tuple(revision for revision in (active, apart) if revision and revision.swappable and not revision.chain)


def _calls(d: Draft, revision: Revision) -> Iterator[Action]:
    pods = [pod for pod in d.seen.pods_of(revision.hash) if pod.ready and pod.ip and _can_swap(pod)]
    wrong = [pod for pod in pods if pod.identity and pod.identity.digest != revision.digest]
    flips = [pod for pod in wrong if holds(pod, revision.digest)]
    if flips and _may_flip(d, revision):
        yield FlipPods(revision, _ips(flips))
    candidate = _candidate(d, revision)
    for target, group in ((revision, wrong), (candidate, [pod for pod in pods if pod not in wrong])):
        if surplus := [pod for pod in group if _surplus(pod, target)]:
            yield UnstagePods(_ips(surplus))
        alone_among = len(counted(d, revision)) if target is candidate else 0
        if target is not None and (lacking := _to_load(group, target, alone_among)):
            yield StageVersion(target, _ips(lacking))


def _to_load(pods: list[PodView], target: Revision, alone_among: int) -> list[PodView]:
    """Pods that have to be told to load ``target``. A candidate is loaded by one alone before the others of
    ``alone_among`` do: should it take more memory than there is, that is one pod less and no outage. A pod that is not
    there may be the one."""
    lacking = [pod for pod in pods if _lacks(pod, target)]
    if not alone_among or any(holds(pod, target.digest) for pod in pods):
        return lacking
    return lacking[:1] if len(lacking) == alone_among else []


def _can_swap(pod: PodView) -> bool:
    return pod.identity is not None and pod.identity.residents is not None


def _ips(pods: list[PodView]) -> tuple[str, ...]:
    return tuple(pod.ip for pod in pods)


def _candidate(d: Draft, revision: Revision) -> Revision | None:
    """The version to load beside ``revision``, once its golden requests are kept for it."""
    green = d.update.green if d.running and swaps(d.update) and d.update.phase in STAGING else None
    if green is None or green.hash != revision.hash:
        return None
    deployment = d.seen.deployment_of(revision.hash)
    kept = deployment.serves.golden if deployment and deployment.serves else {}
    return green if green.digest in kept or d.update.phase is not Phase.PREPARING else None


def _may_flip(d: Draft, revision: Revision) -> bool:
    """Forward only after the ConfigMap was seen to say so, and when every ready pod has it or serves it already; the
    way back, and the correction of a pod that came up wrong, wait for nothing."""
    if not (d.running and swaps(d.update) and d.update.phase is Phase.SWITCHING):
        return True
    ready = [pod for pod in counted(d, revision) if pod.ready]
    return is_recorded(d, revision) and all(holds(pod, revision.digest) for pod in ready)


def _surplus(pod: PodView, target: Revision | None) -> bool:
    staged = pod.identity.staged if pod.identity else None
    return staged is not None and (target is None or staged.digest != target.digest)


def _lacks(pod: PodView, target: Revision) -> bool:
    """Whether it has to be told to load ``target``: not while it does, nor before another one has left the place."""
    staged = pod.identity.staged if pod.identity else None
    return not holds(pod, target.digest) and (staged is None or (staged.digest == target.digest and staged.failed))
