"""Phases ``Preparing`` and ``Verifying``: the candidate starts beside what serves and proves itself."""

from __future__ import annotations

from datetime import timedelta

from viridian_operator.api.conditions import Reason
from viridian_operator.api.names import deployment
from viridian_operator.api.rollout import ApprovalMode, OnExpiry
from viridian_operator.api.status import Candidate, Colour, Kind, Phase, Revision
from viridian_operator.decide.capacity import replaces, swaps, takes_versions
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.hashing import (
    chain_name,
    follows_chain,
    is_of_store,
    revision_hash,
    swappable_hash,
    template_hash,
)
from viridian_operator.decide.revisions import fail_revision, fatal_trouble, green_of, obstacle, unproven
from viridian_operator.decide.scaling import scale
from viridian_operator.decide.swap_choice import swap_for_want_of_room, swap_if_chosen
from viridian_operator.decide.traffic import traffic_target


def prepare(d: Draft) -> None:
    """Fix the revision: version, digest and serving template, captured now.

    Raises
    ------
    LookupError
        If the update has no candidate.
    """
    candidate, status = d.update.candidate, d.status
    if candidate is None:
        raise LookupError(f"update {d.update.number} has no candidate to prepare")
    if swap_if_chosen(d, candidate):
        return
    green = _revision(d, candidate)
    # exactly one previous revision, and it gives way to green unless it has, or needs, the traffic
    previous = status.previous if traffic_target(d) == status.previous else None
    d.put(preview=green, previous=previous, seen={**status.seen, "template": green.template_hash})
    d.put_update(green=green)
    d.enter(Phase.PREPARING, f"starting version {green.version}", limit=_limit(d))
    where = "in place of" if replaces(d.update) else "beside"
    d.note(Reason.PREPARING, f"update {d.update.number} starts version {green.version} {where} what serves")


def _revision(d: Draft, candidate: Candidate) -> Revision:
    active, template, chain = d.status.active, template_hash(d.spec), _chain(d, candidate)
    # where a chain is followed, the version that it began with changes with every anchor that passes
    swappable = bool(chain) or takes_versions(d.spec)
    name = _free_hash(d, template) if swappable else revision_hash(candidate.version, candidate.digest, template)
    return Revision(
        version=candidate.version,
        digest=candidate.digest,
        hash=name,
        template_hash=template,
        graph=candidate.graph,
        swappable=swappable,
        chain=chain,
        deployment=deployment(d.seen.name, name),
        colour=active.colour.other if active else Colour.BLUE,
        event_time=candidate.event_time,
        since=d.now,
    )


def _chain(d: Draft, candidate: Candidate) -> str:
    """The chain that the pods follow: a new one for another version than serves, since a chain is one lineage, and for
    another store; pods that are only made anew go on where those before them are."""
    active = d.status.active
    if not follows_chain(d.spec) or d.update.kind is Kind.PIN:
        return ""
    if active and active.model == candidate.model and is_of_store(active.chain, d.spec):
        return active.chain
    return chain_name(d.spec, d.seen.name, d.seen.uid, d.update.number)


def _free_hash(d: Draft, template: str) -> str:
    """Numbers of updates are never used twice, unless status was lost: what anything still refers to names no other
    revision, or its pods would stand behind a Service before they were proven."""
    taken = {deployment.revision for deployment in d.seen.deployments} | {pod.revision for pod in d.seen.pods}
    taken |= {revision.hash for revision in (d.status.active, d.status.previous) if revision}
    for service in (d.seen.active_service, d.seen.preview_service):
        taken |= {service.revision or "", service.recorded or ""} if service else set()
    number = d.update.number
    while (name := swappable_hash(template, number)) in taken:
        number += 1
    return name


def _limit(d: Draft) -> timedelta:
    deadlines = d.spec.rollout.deadlines
    return deadlines.schedule + deadlines.load


def preview_size(d: Draft) -> int:
    """Pods of the candidate before it is scaled to full size; nothing is gained by a smaller one in an outage."""
    if replaces(d.update):
        return max(1, d.spec.serving.replicas)
    return max(1, min(d.spec.rollout.preview.replicas, max(1, d.spec.serving.replicas)))


def preparing(d: Draft) -> None:
    """Wait until the preview pods are ready, or show that they never will be."""
    green = green_of(d)
    pods = d.seen.pods_of(green.hash)
    if give_up(d, green):
        return
    ready, wanted = d.seen.ready_of(green.hash), preview_size(d)
    if ready >= wanted and len(pods) == wanted:
        d.enter(Phase.VERIFYING, f"asking {wanted} pods what they serve", limit=d.spec.rollout.deadlines.verify)
        return
    trouble = obstacle(d, green)
    d.say(f"{ready} of {wanted} preview pods ready" + (f"; {trouble[1]}" if trouble else ""))
    late_scheduling = d.now >= d.update.phase_since + d.spec.rollout.deadlines.schedule
    if not late_scheduling:
        d.look_at(d.update.phase_since + d.spec.rollout.deadlines.schedule)
    unscheduled = trouble and not all(pod.scheduled for pod in pods)
    stuck = trouble and trouble[0] in (Reason.IMAGE_PULL, Reason.POD_INVALID, Reason.REPLICA_FAILURE)
    if late_scheduling and swap_for_want_of_room(d, trouble):
        return
    if d.overdue or (late_scheduling and (unscheduled or stuck or not pods)):
        reason = trouble[0] if trouble else Reason.DEADLINE_EXCEEDED
        fail_revision(d, reason, d.update.message)


def verifying(d: Draft) -> None:
    """Every preview pod itself reports version and digest and answers the golden requests."""
    green = green_of(d)
    if give_up(d, green):
        return
    if d.seen.ready_of(green.hash) < preview_size(d):
        d.say("preview pods are not ready any more")
    elif problem := unproven(d, green):
        reason, message, final = problem
        d.say(message)
        if final:
            fail_revision(d, reason, message)
            return
        d.look_after(1.0)
    else:
        verified(d, green)
        return
    if d.overdue:
        reason = problem[0] if (problem := unproven(d, green)) else Reason.DEADLINE_EXCEEDED
        fail_revision(d, reason, d.update.message)


def verified(d: Draft, green: Revision) -> None:
    """The candidate is what it should be: a person decides, or it goes on."""
    d.note(Reason.VERIFIED, f"version {green.version} serves what it should, as its pods proved")
    approval = d.spec.rollout.approval
    if (
        approval.mode is ApprovalMode.MANUAL
        and d.update.kind not in (Kind.ROLLBACK, Kind.PIN)
        and not d.update.approved_by
    ):
        message = f"waiting for approve/{d.update.number}/… or reject/{d.update.number}/…"
        d.enter(Phase.AWAITING_APPROVAL, message, limit=approval.expires_after)
        d.note(Reason.AWAITING_APPROVAL, f"version {green.version}: {message}")
    else:
        scale(d)


def awaiting_approval(d: Draft) -> None:
    """A person decides, or time does."""
    if d.update.approved_by:
        scale(d)
    elif not swaps(d.update) and give_up(d, green_of(d)):
        return
    elif d.overdue:
        if d.spec.rollout.approval.on_expiry is OnExpiry.APPROVE:
            d.put_update(approved_by="expiry")
            scale(d)
        else:
            finish(d, Phase.REJECTED, Reason.APPROVAL_EXPIRED, "nobody approved it in time")


def give_up(d: Draft, green: Revision) -> bool:
    """End the update if a pod of the candidate shows that it will never serve."""
    trouble = fatal_trouble(d.seen.pods_of(green.hash))
    if trouble is None:
        return False
    fail_revision(d, *trouble)
    return True
