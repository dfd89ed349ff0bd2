"""How updates end: history, backoff, quarantine, promotion."""

from __future__ import annotations

from datetime import timedelta

from viridian_operator.api.conditions import Reason
from viridian_operator.api.gate import OnInconclusive
from viridian_operator.api.status import (
    CONTENDS,
    HISTORY_LIMIT,
    QUARANTINE_LIMIT,
    Backoff,
    Candidate,
    Champion,
    HistoryEntry,
    Kind,
    Phase,
    Quarantined,
    Revision,
    Update,
)
from viridian_operator.api.version import ModelRef
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.hashing import revision_hash
from viridian_operator.decide.online import owe_revert
from viridian_operator.decide.reports import with_report
from viridian_operator.decide.tags import PROMOTED, QUARANTINE, VERDICT, owe_tag

BACKOFF_BASE = timedelta(minutes=1)
BACKOFF_CAP = timedelta(hours=6)
#: after so many failures in a row only a person or much new data starts another update
REJECTION_LIMIT = 5

_PAUSE_AFTER = frozenset({Phase.FAILED, Phase.REJECTED, Phase.ROLLED_BACK})


def finish(d: Draft, phase: Phase, reason: Reason, message: str) -> None:
    """End the update in ``phase``; what serves is not touched here."""
    update = d.update
    done = update.but(
        phase=phase,
        reason=str(reason),
        message=message,
        finished_at=d.now,
        phase_since=d.now,
        deadline=None,
        total_deadline=None,
        intent=None,
        phases=d.phases_so_far(),
    )
    d.put(
        update=done,
        preview=None,
        history=[*d.status.history, _entry(done)][-HISTORY_LIMIT:],
        backoff=_backoff(d, done),
    )
    if update.kind is Kind.FULL and phase in _PAUSE_AFTER and not _looks_left(d, done):
        d.put(since_full=0)  # what serves must stay fresh: increments go on, and a full one is tried again after them
    _give_up(d, done)
    _answer_anchor(d, done)
    if update.kind is Kind.REDEPLOY and phase in _PAUSE_AFTER and update.green:
        d.put(failed_revision=what_failed(update.green))
    if update.quarantine and update.candidate and update.kind in CONTENDS:
        quarantine(d, update.candidate.model, done.reason)
    text = f"update {update.number} {phase}: {message}"
    told = with_report(text, update.evaluation) if phase is Phase.REJECTED else text
    d.note(reason, told, warn=phase is not Phase.SUCCEEDED)


def what_failed(revision: Revision) -> str:
    """Names version and template of a failed Redeploy, however its Deployment is named."""
    return revision_hash(revision.version, revision.digest, revision.template_hash)


def _give_up(d: Draft, update: Update) -> None:
    """A followed version that was rejected or aborted is not tried again by itself."""
    known = d.status.followed
    if update.kind is not Kind.FOLLOW or known is None or update.phase not in (Phase.REJECTED, Phase.ABORTED):
        return
    if not _looks_left(d, update):
        d.put(followed=known.but(given_up=f"update {update.number} {update.phase}: {update.message}"))


def _looks_left(d: Draft, update: Update) -> bool:
    """Whether an inconclusive update is followed by another look at more events."""
    return update.reason == Reason.GATE_INCONCLUSIVE and d.status.backoff.looks > 0


def _answer_anchor(d: Draft, update: Update) -> None:
    """The online trainer waits for a verdict; one that was not reached lets it go on to the next anchor."""
    if update.kind is not Kind.ANCHOR or update.candidate is None:
        return
    undecided = update.reason == Reason.GATE_INCONCLUSIVE and d.spec.gate.on_inconclusive is not OnInconclusive.REJECT
    rejected = update.phase is Phase.REJECTED and not undecided
    verdict = "Pass" if update.phase is Phase.SUCCEEDED else "Reject" if rejected else "Inconclusive"
    owe_tag(d, update.candidate.version, VERDICT, verdict)
    if rejected:
        owe_revert(d, f"anchor {update.candidate.version} was rejected: {update.message}")


def _entry(update: Update) -> HistoryEntry:
    evaluation, candidate = update.evaluation, update.candidate
    return HistoryEntry(
        number=update.number,
        kind=update.kind,
        phase=update.phase,
        reason=update.reason,
        message=update.message,
        trigger=update.trigger.kind,
        version=candidate.version if candidate else None,
        digest=candidate.digest if candidate else None,
        verdict=evaluation.verdict if evaluation else None,
        report=evaluation.report if evaluation else "",
        difference=evaluation.difference if evaluation else {},
        events=candidate.events if candidate else update.events,
        started_at=update.started_at,
        finished_at=update.finished_at or update.phase_since,
        phases=update.phases,
    )


def _backoff(d: Draft, update: Update) -> Backoff:
    """Wait twice as long after each update that came to nothing; a success starts anew."""
    if update.kind not in CONTENDS or update.kind is Kind.ANCHOR:
        return d.status.backoff
    if update.phase is Phase.SUCCEEDED:
        return Backoff(attempted_total=update.total)
    attempted = update.window.end if update.window else {}
    if update.phase not in _PAUSE_AFTER:
        return d.status.backoff.but(attempted_total=update.total, attempted=attempted)
    looks = d.status.backoff.looks + 1
    if update.reason == Reason.GATE_INCONCLUSIVE and looks < d.spec.gate.looks:
        # not a failure: the next window begins at the same place and is longer
        return d.status.backoff.but(looks=looks, until=None, attempted_total=update.total, attempted=attempted)
    failures = d.status.backoff.failures + 1
    pause = min(BACKOFF_BASE * (1 << min(failures - 1, 16)), BACKOFF_CAP)
    return Backoff(failures=failures, until=d.now + pause, attempted_total=update.total, attempted=attempted)


def quarantine(d: Draft, model: ModelRef, reason: str) -> None:
    """Never serve this digest again, unless a person takes it off the list."""
    if d.status.quarantined(model.digest):
        return
    entry = Quarantined(digest=model.digest, version=model.version, reason=reason, update=d.update.number, at=d.now)
    d.put(quarantine=[*d.status.quarantine, entry][-QUARANTINE_LIMIT:])
    owe_tag(d, model.version, QUARANTINE, str(reason))
    d.note(Reason.QUARANTINED, f"version {entry.version} will not be served again: {reason}", warn=True)


def promote(d: Draft) -> None:
    """The candidate passed everything: it is champion, and its watermark is where the next window starts."""
    update, status = d.update, d.status
    candidate = update.candidate
    if candidate is None:
        raise LookupError(f"update {update.number} has no candidate to promote")
    if status.previous and update.kind is not Kind.ANCHOR:
        d.put(previous=status.previous.but(until=d.now + d.spec.rollout.keep_previous.duration))
    match update.kind:
        case Kind.FULL | Kind.INCREMENTAL | Kind.FOLLOW | Kind.ANCHOR:
            champion = Champion(
                version=candidate.version,
                digest=candidate.digest,
                watermark=candidate.trained_to,
                event_time=candidate.event_time,
                total=update.total,
            )
            _crown(d, champion, update.kind)
        case Kind.ROLLBACK:
            _dethrone(d, candidate.digest)
        case Kind.REDEPLOY | Kind.PIN:
            pass
    if update.kind is Kind.ANCHOR:
        _serve_anchor(d, candidate)
    finish(d, Phase.SUCCEEDED, Reason.PROMOTED, f"version {candidate.version} serves")


def _serve_anchor(d: Draft, anchor: Candidate) -> None:
    """Pods that follow the chain have gone on from it; one that starts while the store is away loads it."""
    if d.status.active is None:
        raise LookupError(f"version {anchor.version} is an anchor, but nothing serves")
    changes = {"version": anchor.version, "digest": anchor.digest, "event_time": anchor.event_time}
    d.put(active=d.status.active.but(**changes, graph=anchor.graph or d.status.active.graph))


def _crown(d: Draft, champion: Champion, kind: Kind) -> None:
    """Make a version champion; the registry is owed its aliases."""
    old, reference = d.status.champion, d.status.reference
    full, since = kind in (Kind.FULL, Kind.FOLLOW), d.status.since_full + (kind is Kind.INCREMENTAL)
    d.put(
        champion=champion,
        previous_champion=old,
        since_full=0 if full else since,
        reference=champion.model if full else reference or champion.model,
    )
    owe_tag(d, champion.version, PROMOTED, str(d.update.number))
    aliases = {"champion": champion.version}
    if old:
        aliases["previous"] = old.version
    want_aliases(d, aliases)


def _dethrone(d: Draft, digest: str) -> None:
    """A person went back: champion, watermark, reference and alias go back together, what was left is quarantined."""
    status = d.status
    if status.previous_champion is None or status.previous_champion.digest != digest:
        return
    if status.champion and status.reference == status.champion.model:
        d.put(reference=status.previous_champion.model)
    if status.champion and status.champion.digest != digest:
        quarantine(d, status.champion.model, Reason.ROLLED_BACK_BY_REQUEST)
    d.put(champion=status.previous_champion, previous_champion=None, previous=None)
    want_aliases(d, {"champion": status.previous_champion.version})


def want_aliases(d: Draft, aliases: dict[str, str]) -> None:
    """Owe the registry these aliases until it is seen to have them."""
    old = d.status.aliases
    wanted = {**old.wanted, **aliases}
    if wanted != old.wanted:
        foreign = {alias: version for alias, version in old.foreign.items() if alias not in aliases}
        d.put(aliases=old.but(wanted=wanted, confirmed=False, foreign=foreign))
