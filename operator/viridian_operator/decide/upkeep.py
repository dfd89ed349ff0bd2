"""What should exist, given the status: the same every pass, whatever happened to the children."""

from __future__ import annotations

from collections.abc import Iterator

from viridian_operator.api.conditions import Reason
from viridian_operator.api.names import active_service, preview_service
from viridian_operator.api.names import serves as serving_record
from viridian_operator.api.status import CONTENDS, Kind, Phase, Revision, Update
from viridian_operator.decide import evaluating, training
from viridian_operator.decide.aliases import left_alone
from viridian_operator.decide.capacity import replaces, swaps
from viridian_operator.decide.check_jobs import TASK, wanted_jobs
from viridian_operator.decide.decision import (
    Action,
    CreateJob,
    DeleteJob,
    DeleteRevision,
    EnsureAdminSecret,
    EnsureRevision,
    EnsureService,
    Retire,
    SetAliases,
    TagVersion,
)
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.drifting import wanted_monitor
from viridian_operator.decide.jobs import retry_at
from viridian_operator.decide.observation import JobState, JobView, ServiceView
from viridian_operator.decide.online import wanted_trainer
from viridian_operator.decide.preparing import preview_size
from viridian_operator.decide.residents import calls, should_serve
from viridian_operator.decide.retention import unwanted_versions
from viridian_operator.decide.tags import PROMOTED
from viridian_operator.decide.traffic import stood_in_for, traffic_target

ACTIVE, PREVIEW, PREVIOUS = "active", "preview", "previous"
_FULL_SIZE = frozenset({Phase.SCALING, Phase.SWITCHING})
_BEFORE_SWITCH = frozenset({Phase.PREPARING, Phase.VERIFYING, Phase.SCALING, Phase.SWITCHING})
_STANDING_BY = frozenset({Phase.BAKING, Phase.ROLLING_BACK})


def plan(d: Draft) -> tuple[Action, ...]:
    """Actions that bring the children to what the status says; idempotent, in safe order."""
    if d.seen.deleting:
        return ()
    return (
        *_revisions(d),
        *_services(d),
        *calls(d),
        *_retirements(d),
        *_leftovers(d),
        *_jobs(d),
        *wanted_jobs(d),
        *wanted_monitor(d),
        *wanted_trainer(d),
        *_aliases(d),
        *_tags(d),
        *unwanted_versions(d),
    )


def _referenced(d: Draft) -> list[tuple[Revision, str, int]]:
    """Revisions that status refers to, with their role and size; each Deployment is there once, also one that has two
    versions, and one that is previous and what an update goes back to.
    """
    status, active = d.status, should_serve(d)
    rows: list[tuple[Revision, str, int]] = []
    if active:
        rows.append((active, ACTIVE, _active_size(d)))
    if status.preview and d.running:
        size = (d.update.replicas or 1) if d.update.phase in _FULL_SIZE else preview_size(d)
        rows.append((status.preview, PREVIEW, size))
    if status.previous and status.previous.hash not in {revision.hash for revision, _, _ in rows}:
        rows.append((status.previous, PREVIOUS, _previous_size(d, status.previous)))
    return rows


def _active_size(d: Draft) -> int:
    if d.running and replaces(d.status.update) and d.update.phase in (*_BEFORE_SWITCH, Phase.ROLLING_BACK):
        return 0
    moves = d.running and d.update.phase in (Phase.SWITCHING, *_STANDING_BY)
    return _bake_size(d) if moves else d.spec.serving.replicas


def _bake_size(d: Draft) -> int:
    return max(d.spec.serving.replicas, d.update.replicas or 0)


def _previous_size(d: Draft, previous: Revision) -> int:
    """Full while a bake may need it and while it has the traffic; what is kept of it afterwards."""
    if d.running and d.update.phase in _STANDING_BY:
        return 0 if replaces(d.update) and d.update.phase is Phase.BAKING else _bake_size(d)
    if d.running and _is_left(d.update, previous) and not replaces(d.update):
        return _bake_size(d)
    if stood_in_for(d):
        return d.spec.serving.replicas
    if _expired(d, previous) or replaces(d.status.update):
        return 0
    d.look_at(previous.until)
    return d.spec.rollout.keep_previous.replicas


def _is_left(update: Update, previous: Revision) -> bool:
    """Whether the switch takes the traffic from what stood in for the active revision, and may have to give it back."""
    return update.phase is Phase.SWITCHING and update.intent is not None and update.intent.source == previous.hash


def _expired(d: Draft, previous: Revision) -> bool:
    return previous.until is not None and d.now >= previous.until


def _revisions(d: Draft) -> Iterator[Action]:
    golden, golden_of = _told_golden(d)
    for revision, role, replicas in _referenced(d):
        exists = d.seen.deployment_of(revision.hash) is not None
        if not exists and role == PREVIEW and not _asked(d, revision):
            # the golden requests go into the immutable ConfigMap, so the registry is asked first
            d.ask_again()
            continue
        if not exists or (replicas and not d.seen.ready_of(revision.hash)):
            yield EnsureAdminSecret()  # without it no pod starts
        _tell_of_edit(d, revision)
        yield EnsureRevision(
            revision=revision,
            role=role,
            replicas=replicas,
            golden=golden,
            golden_of=golden_of,
            standby=_standby(d, revision),
        )


def _told_golden(d: Draft) -> tuple[str, str]:
    """Golden requests that the registry told in this pass, and the digest that they are of."""
    version, update = d.seen.registry.version, d.status.update
    known = (d.status.active, d.status.previous, update.green if update else None)
    found = next((each for each in known if each and version and each.version == version.version), None)
    return (version.golden, found.digest) if version and found else ("", "")


def _standby(d: Draft, revision: Revision) -> tuple[str, ...]:
    """Other versions that the pods of ``revision`` may be told to serve."""
    update = d.status.update if d.running and swaps(d.status.update) else None
    others = (d.status.active, d.status.previous, update.green if update else None)
    same = (each.digest for each in others if each and each.hash == revision.hash)
    return tuple(dict.fromkeys(digest for digest in same if digest != revision.digest))


def _tell_of_edit(d: Draft, revision: Revision) -> None:
    deployment = d.seen.deployment_of(revision.hash)
    serves = deployment.serves if deployment else None
    if serves is not None and serves.starting != serves.digest:
        message = f"ConfigMap {serving_record(revision.deployment)} was changed; restored from status"
        d.note(Reason.RECORD_RESTORED, message, warn=True)


def _asked(d: Draft, revision: Revision) -> bool:
    if d.running and d.update.kind is Kind.REDEPLOY and d.update.candidate:
        active = d.status.active
        if active and active.model == d.update.candidate.model and not active.chain:
            return True  # the record of the active revision holds them
    registry = d.seen.registry
    known = registry.version is not None and registry.version.version == revision.version
    return known or registry.lacks(f"version:{revision.version}")


def _services(d: Draft) -> Iterator[Action]:
    target, services = traffic_target(d), d.spec.serving.services
    if target is None:
        return
    seen = d.seen.active_service
    if seen and seen.revision != target.hash:
        _tell_of_move(d, seen, target)
    yield EnsureService(name=active_service(d.seen.name, services.active), role=ACTIVE, revision=target.hash)
    shown = d.status.preview or target
    yield EnsureService(name=preview_service(d.seen.name, services.preview), role=PREVIEW, revision=shown.hash)


def _tell_of_move(d: Draft, service: ServiceView, target: Revision) -> None:
    """An Event for a change of the selector that no phase of an update tells of."""
    previous, active = d.status.previous, d.status.active
    if d.running and d.update.phase in (Phase.SWITCHING, *_STANDING_BY):
        return
    if previous and active and previous.hash == active.hash:
        previous = None  # in the same pods, so the selector does not tell them apart
    if previous and active and target.hash == previous.hash:
        message = f"version {active.version} has no ready endpoint: version {target.version} stands in for it"
        d.note(Reason.STANDING_IN, message, warn=True)
    elif previous and service.revision == service.recorded == previous.hash:
        d.note(Reason.STANDING_IN, f"version {target.version} is complete again and has the traffic back")
    elif d.running or service.revision != service.recorded:
        message = f"the selector of Service {service.name} was changed; restored from status"
        d.note(Reason.SELECTOR_RESTORED, message, warn=True)


def _retirements(d: Draft) -> Iterator[Action]:
    """Callers that keep their connections leave a revision that lost the traffic within a second."""
    target, service = traffic_target(d), d.seen.active_service
    if target is None or service is None:
        return
    going_back = d.running and d.update.phase is Phase.ROLLING_BACK
    if service.revision != target.hash and not going_back:
        return
    for revision, _, _ in _referenced(d):
        retired = revision.hash != target.hash and revision is not d.status.preview
        pods = tuple(
            pod.ip
            for pod in d.seen.pods_of(revision.hash)
            if pod.ip and pod.identity is not None and pod.identity.retired != retired
        )
        if pods:
            yield Retire(revision=revision.hash, pods=pods, retired=retired)


def _leftovers(d: Draft) -> Iterator[Action]:
    """Revisions that neither status nor a Service refers to; never on a guess about what serves."""
    if d.status.active is None and d.status.update is None:
        return
    stays = replaces(d.status.update)
    kept = {r.hash for r, role, size in _referenced(d) if size or role != PREVIOUS or (stays and not _expired(d, r))}
    if target := traffic_target(d):
        kept.add(target.hash)
    for service in (d.seen.active_service, d.seen.preview_service):
        if service and service.revision:
            kept.add(service.revision)
    for deployment in d.seen.deployments:
        if deployment.revision not in kept:
            yield DeleteRevision(deployment=deployment.name, revision=deployment.revision)


def _jobs(d: Draft) -> Iterator[Action]:
    update = d.status.update
    for job in d.seen.jobs:
        if update is None or _obsolete(d, job):
            yield DeleteJob(name=job.name)
    if update is None or not update.running or update.kind not in CONTENDS or update.window is None:
        return
    since = retry_at(update.attempts, update.phase_since)
    if d.now < since:
        d.look_at(since)
        return
    if update.attempts.seen:
        return
    if update.phase is Phase.QUEUED and d.seen.slot.granted:
        yield CreateJob(task=training.TASK, update=update, window=update.window, parent=update.parent)
    elif update.phase is Phase.EVALUATING and update.evaluation is None and update.candidate:
        yield CreateJob(
            task=evaluating.TASK,
            update=update,
            window=update.window,
            parent=d.status.champion.model if d.status.champion else None,
            candidate=update.candidate.model,
            reference=d.status.reference,
            holdout=update.candidate.holdout,
            predicted=training.predicted(update),
        )


def _obsolete(d: Draft, job: JobView) -> bool:
    """Whether a Job's result is in status; those of a failed update stay to be looked at until the next one."""
    update = d.status.update
    if update is None or job.number != update.number:
        return True
    if update.running:
        return False
    finished = job.state in (JobState.COMPLETE, JobState.FAILED)
    kept = update.phase is Phase.FAILED or (job.task == TASK and update.phase is Phase.ROLLED_BACK)
    return not kept or not finished


def _aliases(d: Draft) -> Iterator[Action]:
    aliases, found = d.status.aliases, d.seen.registry.aliases
    if aliases.confirmed or not aliases.wanted:
        return
    d.ask_again()
    # written last: whoever finds the alias without a status must find that the version was promoted
    if found is None or any(tag.key == PROMOTED for tag in d.status.owed_tags):
        return
    left = left_alone(d)
    owed = tuple((a, v) for a, v in aliases.wanted.items() if found.get(a) != v and a not in left)
    if owed:
        yield SetAliases(wanted=owed)


def _tags(d: Draft) -> Iterator[Action]:
    if d.running or not d.status.owed_tags:
        return  # the registry is asked about them between updates
    d.ask_again()
    version = d.seen.registry.version
    for owed in d.status.owed_tags:
        if version is not None and version.version == owed.version:
            yield TagVersion(version=owed.version, key=owed.key, value=owed.value)
