"""The part of status that people and tools read: phase, message, conditions."""

from __future__ import annotations

from datetime import UTC, datetime

from viridian_operator.api.conditions import Reason, Type, drop_condition, set_condition
from viridian_operator.api.names import MODEL_UPDATE, REVISION
from viridian_operator.api.serving import IdentityPolicy
from viridian_operator.api.status import TERMINAL, Kind, Phase
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.drifting import unwatched
from viridian_operator.decide.online import tell_training


def summarise(d: Draft) -> None:
    """Derive everything that can be derived; nothing here is read back by decisions."""
    running = d.running
    d.put(
        phase=d.update.phase if running else Phase.IDLE,
        message=_message(d),
        replicas=d.seen.ready_of(d.status.active.hash) if d.status.active else 0,
        selector=_selector(d),
        fresh_at=_fresh_at(d),
        observed_generation=d.seen.generation,
    )
    _serving(d)
    _freshness(d)
    _progress(d)
    _update(d)
    _drift(d)
    _monitor(d)
    tell_training(d)
    _identity(d)
    _invariants(d)


def _set(d: Draft, kind: Type, value: bool | None, reason: Reason | str, message: str) -> None:
    d.put(
        conditions=set_condition(
            d.status.conditions, kind, value, reason, message, generation=d.seen.generation, now=d.now
        )
    )


def _drop(d: Draft, kind: Type) -> None:
    d.put(conditions=drop_condition(d.status.conditions, kind))


def _message(d: Draft) -> str:
    if d.running:
        return d.update.message
    if d.stalled:
        return d.stalled[1]
    if d.seen.heads_error and (d.status.pending_trigger or d.status.active is None):
        return f"an update is due, but the event log cannot be read: {d.seen.heads_error}"
    if d.waiting:
        return d.waiting
    if d.status.update:
        return f"update {d.status.update.number} {d.status.update.phase}: {d.status.update.message}"
    return "waiting for the first events" if d.status.active is None else f"version {d.status.active.version} serves"


def _selector(d: Draft) -> str:
    active = d.status.active
    return f"{MODEL_UPDATE}={d.seen.name},{REVISION}={active.hash}" if active else ""


def _fresh_at(d: Draft) -> datetime | None:
    active, online = d.status.active, d.status.online
    event_time = active.event_time if active else None
    if online and online.state == "Publishing" and active and online.chain == active.chain:
        event_time = online.event_time or event_time
    return datetime.fromtimestamp(event_time, UTC) if event_time else None


def _serving(d: Draft) -> None:
    active = d.status.active
    if active is None:
        _set(d, Type.SERVING_AVAILABLE, False, Reason.NOTHING_SERVES, "no version serves yet")
        _set(d, Type.READY, False, Reason.NOTHING_SERVES, d.status.message)
        return
    ready = d.seen.ready_of(active.hash)
    available = ready > 0 or d.spec.serving.replicas == 0
    text = f"version {active.version} serves from {ready} pods"
    if not available:
        _set(d, Type.SERVING_AVAILABLE, False, Reason.NO_READY_ENDPOINTS, text)
        _set(d, Type.READY, False, Reason.NO_READY_ENDPOINTS, text)
        return
    _set(d, Type.SERVING_AVAILABLE, True, Reason.SERVING, text)
    if other := _other_version(d):
        _set(d, Type.READY, False, Reason.IDENTITY_MISMATCH, other)
    elif unproven := _never_promoted(d):
        _set(d, Type.READY, False, *unproven)
    else:
        _set(d, Type.READY, True, Reason.SERVING, text)


def _other_version(d: Draft) -> str:
    """Pods that take versions and came up with another one, or did not go back; they are told until they do."""
    active = d.status.active
    moving = d.running and d.update.phase in (Phase.SWITCHING, Phase.ROLLING_BACK)
    if active is None or not active.swappable or active.chain or moving:
        return ""
    pods = [pod for pod in d.seen.pods_of(active.hash) if pod.ready and pod.identity]
    wrong = [pod.name for pod in pods if pod.identity and pod.identity.digest != active.digest]
    return f"{len(wrong)} of {len(pods)} pods serve another version than {active.version}: {wrong[0]}" if wrong else ""


def _freshness(d: Draft) -> None:
    """Present only while what serves is older than it may be, or does not say how old it is."""
    freshness, active = d.spec.freshness, d.status.active
    if freshness is None or active is None:
        _drop(d, Type.STALE)
        return
    if d.status.fresh_at is None:
        message = f"version {active.version} does not say of when its newest event is (tag viridian.event-time)"
        _set(d, Type.STALE, None, Reason.NO_EVENT_TIME, message)
        return
    limit = d.status.fresh_at + freshness.max_age
    if d.now < limit:
        d.look_at(limit)
        _drop(d, Type.STALE)
        return
    message = f"version {active.version} knows events up to {d.status.fresh_at:%Y-%m-%d %H:%M:%S} UTC only"
    if not any(condition.type == Type.STALE and condition.status == "True" for condition in d.status.conditions):
        d.note(Reason.TOO_OLD, message, warn=True)
    _set(d, Type.STALE, True, Reason.TOO_OLD, message)


def _never_promoted(d: Draft) -> tuple[Reason | str, str] | None:
    """A first version that serves although it failed its bake, or has not ended it."""
    update, active = d.status.update, d.status.active
    if d.status.champion is not None or d.status.recovering or update is None or active is None:
        return None
    if update.phase in TERMINAL and update.kind is not Kind.PIN:
        return update.reason or Reason.REVISION_FAILED, update.message
    return (Reason.BAKING, update.message) if d.running and update.phase is Phase.BAKING else None


def _progress(d: Draft) -> None:
    if d.running:
        update = d.update
        _set(d, Type.RECONCILING, True, update.phase, f"update {update.number}: {update.message}")
    elif d.status.active is None and not d.stalled:
        _set(d, Type.RECONCILING, True, Reason.NOTHING_SERVES, d.status.message)
    else:
        _drop(d, Type.RECONCILING)
    if d.stalled and not d.running:
        _set(d, Type.STALLED, True, *d.stalled)
    else:
        _drop(d, Type.STALLED)


def _update(d: Draft) -> None:
    """Conditions of the last update that got as far."""
    update = d.status.update
    if update is None:
        return
    if update.candidate and update.kind in (Kind.FULL, Kind.INCREMENTAL):
        _set(
            d,
            Type.TRAINED,
            True,
            Reason.TRAINED,
            f"update {update.number}: version {update.candidate.version}",
        )
    elif update.phase is Phase.FAILED and update.kind in (Kind.FULL, Kind.INCREMENTAL):
        _set(d, Type.TRAINED, False, update.reason or Reason.TRAINING_FAILED, update.message)
    if update.evaluation:
        verdict = update.evaluation.verdict
        value = {"Pass": True, "Reject": False}.get(verdict)
        reason = update.evaluation.reason or verdict
        _set(d, Type.GATE_PASSED, value, reason, update.evaluation.message)
    if update.phase is Phase.SUCCEEDED:
        _set(d, Type.PROMOTED, True, Reason.PROMOTED, update.message)
    elif update.phase in TERMINAL:
        _set(d, Type.PROMOTED, False, update.reason or update.phase, update.message)
    else:
        _set(d, Type.PROMOTED, None, update.phase, f"update {update.number} is under way")


def _drift(d: Draft) -> None:
    aliases = d.status.aliases
    if aliases.foreign:
        _set(d, Type.DRIFTED, True, Reason.ALIAS_DRIFT, f"aliases moved by somebody else: {aliases.foreign}")
    elif aliases.wanted and not aliases.confirmed:
        _set(
            d,
            Type.DRIFTED,
            True,
            Reason.ALIAS_PENDING,
            f"aliases not confirmed yet: {d.seen.registry.error or 'to be written'}",
        )
    else:
        _drop(d, Type.DRIFTED)


def _monitor(d: Draft) -> None:
    """Present only while drift should be watched and is not; what the monitor says is read between updates."""
    if problem := unwatched(d):
        _set(d, Type.DRIFT_UNWATCHED, True, *problem)
    elif not d.running or d.spec.trigger.drift is None:
        _drop(d, Type.DRIFT_UNWATCHED)


def _identity(d: Draft) -> None:
    if d.spec.serving.identity is IdentityPolicy.READINESS_ONLY:
        message = "readiness only: what a pod serves is not proven, golden requests are not asked"
        _set(d, Type.IDENTITY_UNPROVEN, True, Reason.READINESS_ONLY, message)
    else:
        _drop(d, Type.IDENTITY_UNPROVEN)


def _invariants(d: Draft) -> None:
    """Present only while something is broken; one Event when it begins."""
    if not d.violated:
        _drop(d, Type.INVARIANT_VIOLATED)
        return
    message = "; ".join(violation.message for violation in d.violated)
    known = any(condition.type == Type.INVARIANT_VIOLATED for condition in d.status.conditions)
    _set(d, Type.INVARIANT_VIOLATED, True, d.violated[0].invariant, message)
    if not known:
        d.note(Reason.INVARIANT_VIOLATED, message, warn=True)
