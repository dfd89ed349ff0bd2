"""What the pods of a revision tell together."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.serving import IdentityPolicy
from viridian_operator.api.status import Phase, Revision
from viridian_operator.decide.capacity import swaps
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.observation import PodTrouble, PodView

#: troubles that another try of the same pod will not cure
FATAL = {
    PodTrouble.DIGEST_MISMATCH: Reason.DIGEST_MISMATCH,
    PodTrouble.BAD_BUNDLE: Reason.BAD_BUNDLE,
    PodTrouble.WARMUP_FAILED: Reason.WARMUP_FAILED,
    PodTrouble.VERSION_MISSING: Reason.VERSION_MISSING,
    PodTrouble.BAD_CONFIGURATION: Reason.BAD_CONFIGURATION,
}
#: troubles whose cause lies in the revision once the container has died more than once
CRASHES = {PodTrouble.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY, PodTrouble.CRASH_LOOP: Reason.CRASH_LOOP}
#: troubles that may pass by themselves, until the deadline
PASSING = {
    PodTrouble.UNSCHEDULABLE: Reason.UNSCHEDULABLE,
    PodTrouble.VOLUME_MISSING: Reason.VOLUME_MISSING,
    PodTrouble.VOLUME_LOST: Reason.VOLUME_LOST,
    PodTrouble.VOLUME_UNBOUND: Reason.VOLUME_UNBOUND,
    PodTrouble.IMAGE_PULL: Reason.IMAGE_PULL,
    PodTrouble.INVALID: Reason.POD_INVALID,
    PodTrouble.REGISTRY_UNREACHABLE: Reason.REGISTRY_UNREACHABLE,
    PodTrouble.INFRASTRUCTURE: Reason.INFRASTRUCTURE,
}
#: troubles of pods that no node takes
UNPLACED = frozenset({Reason.UNSCHEDULABLE, Reason.VOLUME_MISSING, Reason.VOLUME_LOST, Reason.VOLUME_UNBOUND})
#: causes that lie in the bundle itself, not in the template or the cluster
OF_THE_BUNDLE = frozenset(
    {Reason.DIGEST_MISMATCH, Reason.BAD_BUNDLE, Reason.WARMUP_FAILED, Reason.OUT_OF_MEMORY, Reason.CRASH_LOOP}
)
CRASH_LIMIT = 2


def switched_to(d: Draft, revision: Revision) -> bool:
    """Whether the active Service selects ``revision``, or was made to: somebody else's edit does not undo a switch.

    In a hot swap: whether the ConfigMap names it, or was made to, or a pod serves it already.
    """
    if swaps(d.update):
        return _swapped_to(d, revision)
    service = d.seen.active_service
    return service is not None and revision.hash in (service.revision, service.recorded)


def _swapped_to(d: Draft, revision: Revision) -> bool:
    deployment = d.seen.deployment_of(revision.hash)
    serves = deployment.serves if deployment else None
    named = serves is not None and revision.digest in (serves.starting, serves.digest)
    answers = (pod.identity.digest for pod in d.seen.pods_of(revision.hash) if pod.identity)
    return named or revision.digest in answers


def fatal_trouble(pods: tuple[PodView, ...]) -> tuple[Reason, str] | None:
    """Why this revision will never serve, if a pod shows it."""
    for pod in pods:
        if pod.trouble in FATAL:
            return FATAL[pod.trouble], f"{pod.name}: {pod.message}"
        if pod.trouble in CRASHES and pod.restarts >= CRASH_LIMIT:
            return CRASHES[pod.trouble], f"{pod.name} died {pod.restarts} times: {pod.message}"
    return None


def passing_trouble(pods: tuple[PodView, ...]) -> tuple[Reason, str] | None:
    """What the revision waits for, if a pod shows it."""
    for pod in pods:
        if pod.trouble in PASSING or pod.trouble in CRASHES:
            reason = (PASSING | CRASHES)[pod.trouble]
            return reason, f"{pod.name}: {pod.message}"
    return None


def obstacle(d: Draft, revision: Revision) -> tuple[Reason, str] | None:
    """What a revision waits for, as its pods show it, or its Deployment where it could not make any."""
    if trouble := passing_trouble(d.seen.pods_of(revision.hash)):
        return trouble
    deployment = d.seen.deployment_of(revision.hash)
    return (Reason.REPLICA_FAILURE, deployment.failure) if deployment and deployment.failure else None


def unproven(d: Draft, revision: Revision) -> tuple[Reason, str, bool] | None:
    """Why the pods of a revision are not proven to serve it: reason, sentence, whether that is final.

    Readiness alone proves nothing: every pod itself must report version and digest and answer the
    golden requests (none are asked with ``identity: ReadinessOnly``).
    """
    if d.spec.serving.identity is IdentityPolicy.READINESS_ONLY:
        return None
    for pod in d.seen.pods_of(revision.hash):
        if pod.identity is None:
            return Reason.IDENTITY_MISMATCH, f"{pod.name} did not say what it serves", False
        if (pod.identity.version, pod.identity.digest) != (revision.version, revision.digest):
            found = f"version {pod.identity.version} {pod.identity.digest}"
            # who follows a chain gets to its newest anchor a moment after that became champion
            final = pod.identity.ready and not revision.chain
            return Reason.IDENTITY_MISMATCH, f"{pod.name} serves {found}", final
        if revision.chain:
            continue  # it answers with the weights of the moment, and asks the golden requests of each delta itself
        if pod.golden is None:
            return Reason.GOLDEN_FAILED, f"{pod.name} did not answer the golden requests", False
        if pod.golden:
            return Reason.GOLDEN_FAILED, f"{pod.name}: {pod.golden}", True
    return None


def only_endpoints_of(d: Draft, revision: Revision) -> bool:
    """Whether the active Service has ready endpoints, and only ones of ``revision``."""
    service = d.seen.active_service
    return service is not None and bool(service.endpoints) and set(service.endpoints) == {revision.hash}


def answers(d: Draft, revision: Revision) -> bool:
    """Whether the active Service itself answers with the digest of ``revision``, and nothing else does."""
    if d.spec.serving.identity is IdentityPolicy.READINESS_ONLY:
        return True
    service = d.seen.active_service
    return service is not None and bool(service.answered) and set(service.answered or ()) == {revision.digest}


def fail_revision(d: Draft, reason: Reason, message: str) -> None:
    """The candidate never took over; what serves is untouched."""
    if reason in OF_THE_BUNDLE or reason is Reason.GOLDEN_FAILED:
        d.put_update(quarantine=True)
    finish(d, Phase.FAILED, reason, message)


def green_of(d: Draft) -> Revision:
    """The candidate's revision.

    Raises
    ------
    LookupError
        If the update has not prepared one.
    """
    if d.update.green is None:
        raise LookupError(f"update {d.update.number} has no revision")
    return d.update.green
