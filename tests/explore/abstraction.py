"""What two worlds must share to count as one state: roles instead of names, buckets instead of times."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from hashlib import blake2b
from typing import Any

from simulation import LOADING, SimPod, World

from viridian_operator.api.status import ModelUpdateStatus
from viridian_operator.decide.gaps import begin_after
from viridian_operator.decide.window import total

_BUCKETS = (0, 1, 5, 30, 300, 3600)


def fingerprint(world: World) -> int:
    """64 bits that are equal for equivalent worlds, in every process."""
    return int.from_bytes(blake2b(repr(_state(world)).encode(), digest_size=8).digest())


def _state(w: World) -> tuple[Any, ...]:
    roles = _roles(w)
    pods = Counter(
        (roles.get(p.revision), p.ready, p.broken, p.lost, p.retired, p.lies, *_memory(w, p)) for p in w.pods.values()
    )
    return (
        _status(w),
        tuple((n, roles.get(h, h)) for n, h in sorted(w.services.items())),
        sorted((roles[h], d.replicas) for h, d in w.deployments.items()),
        sorted((roles.get(h, ""), _named(w, r.digest), r.digest == r.recorded) for h, r in w.records.items()),
        sorted(map(repr, pods.items())),
        sorted((j.task, j.state, j.number == _number(w.status)) for j in w.jobs.values()),
        tuple((n, _age(w, v)) for n, v in sorted(w.aliases.items())),
        (w.knows_swaps, w.registry_up, w.slot.granted, w.spec.serving.replicas, w.verdicts.get(str(len(w.versions)))),
        _data(w),
        _age(w, str(len(w.versions))) if w.status.champion is None else _age(w, w.status.champion.version),
    )


def _named(w: World, digest: str) -> str:
    """What a version is to status."""
    s = w.status
    named = {"green": s.update.green if s.update else None, "active": s.active, "previous": s.previous}
    return next((role for role, each in named.items() if each and each.digest == digest), "other")


def _memory(w: World, p: SimPod) -> tuple[Any, ...]:
    """What a pod serves, and what it has loaded besides."""
    staged = p.staged and (_named(w, p.staged[1]), p.staging_fails, w.now - p.staged_at >= LOADING)
    return (_named(w, p.digest), p.previous and _named(w, p.previous[1]), staged)


def _data(w: World) -> tuple[Any, ...]:
    """Whether enough is new for an update, whether something of it is lost, and how much was skipped."""
    champion, attempted = w.status.champion, w.status.backoff.attempted_total
    watermark = total(begin_after(champion, w.status.gaps)) if champion else 0
    new = w.events - (attempted or watermark) >= (w.spec.trigger.new_events or 0)
    return (new, w.trimmed > watermark, min(len(w.status.gaps), 2), bool(w.status.backoff.attempted))


def _number(status: ModelUpdateStatus) -> int:
    return status.update.number if status.update else 0


def _age(w: World, version: str) -> int:
    """How many versions are newer, up to a few."""
    return min(len(w.versions) - int(version), 4)


def _roles(w: World) -> dict[str, str]:
    """Revision hashes by what they are to status; the others in the order they came."""
    s = w.status
    named = {"green": s.update.green if s.update else None, "previous": s.previous, "active": s.active}
    rest = {hash_: f"other{i}" for i, hash_ in enumerate(w.deployments)}
    return rest | {revision.hash: role for role, revision in named.items() if revision}


def _status(w: World) -> tuple[Any, ...]:
    s, u = w.status, w.status.update
    return (
        s.recovering is not None,
        s.pending_trigger is not None,
        min(s.backoff.failures, 5),
        _left(w, s.backoff.until),
        s.aliases.confirmed,
        bool(s.failed_revision),
        s.active is not None and bool(s.quarantined(s.active.digest)),
        (s.followed is not None, bool(s.followed and s.followed.given_up), w.spec.follow is not None),
        s.last_request is not None and s.last_request.text == w.annotations.get("viridian.dev/request"),
        _left(w, s.previous.until) if s.previous else None,
        _update(w) if u else None,
    )


def _update(w: World) -> tuple[Any, ...]:
    u = w.status.update
    assert u
    return (
        (u.phase, u.kind, u.reason, _left(w, u.deadline), u.quarantine, u.replicas, bool(u.approved_by)),
        (u.attempts.infrastructure, u.attempts.code, u.message.startswith("judging")),
        (u.hot_swap, u.candidate is not None, u.evaluation and u.evaluation.verdict, u.intent is not None),
        (u.bake.passed_seconds // 10, sum(r.counts.failed for r in u.bake.results if r.counts)) if u.bake else None,
    )


def _left(w: World, moment: datetime | None) -> int | None:
    if moment is None:
        return None
    seconds = (moment - w.now).total_seconds()
    return sum(seconds > edge for edge in _BUCKETS)
