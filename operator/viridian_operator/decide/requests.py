"""What people asked for, answered once each; an answer never means more than its text."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

from viridian_operator.api.conditions import Reason
from viridian_operator.api.names import ANNOTATION_REQUEST
from viridian_operator.api.requests import LENGTH_LIMIT, NUMBERED, ParsedRequest, Verb, parse_request
from viridian_operator.api.spec import Strategy
from viridian_operator.api.status import Backoff, ModelUpdateStatus, Phase, Request, Trigger
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish, promote
from viridian_operator.decide.evaluating import passed
from viridian_operator.decide.online import owe_revert
from viridian_operator.decide.revisions import switched_to
from viridian_operator.decide.rolling_back import roll_back
from viridian_operator.decide.skipping import NothingToSkip, skip_window
from viridian_operator.decide.starting import start_rollback
from viridian_operator.decide.tags import LIFTED, QUARANTINE, owe_tag

AFTER_SWITCH = frozenset({Phase.SWITCHING, Phase.BAKING})


class Refused(Exception):
    """The request cannot be done now; the text says why and what can."""


def answer_request(d: Draft) -> None:
    """Acknowledge the newest request and do it, or say why not."""
    text = unanswered(d.seen.annotations, d.status)
    if not text:
        return
    try:
        request = parse_request(text)
        _check_number(d, request)
        message = _VERBS[request.verb](d, request)
        outcome = "Accepted"
    except (ValueError, Refused) as problem:
        message, outcome = str(problem), "Refused"
    _answer(d, text, outcome, message)


def refuse_unknown_request(d: Draft) -> None:
    """After status was lost nobody knows whether the newest request was answered: it is not done a second time."""
    if text := unanswered(d.seen.annotations, d.status):
        message = "status was rebuilt, and it may have been done before: ask again with another nonce"
        _answer(d, text, "Refused", message)


def unanswered(annotations: Mapping[str, str], status: ModelUpdateStatus) -> str:
    """The newest request, if it was not answered yet."""
    text = annotations.get(ANNOTATION_REQUEST, "").strip()
    last = status.last_request
    return "" if last and last.text == _recorded(text) else text


def _answer(d: Draft, text: str, outcome: str, message: str) -> None:
    known = _recorded(text)
    d.put(last_request=Request(text=known, outcome=outcome, message=message, at=d.now))
    d.note(Reason.REQUESTED, f"{known}: {outcome}: {message}", warn=outcome == "Refused")


def _recorded(text: str) -> str:
    """What tells a request that was answered from a new one, however long somebody made it."""
    if len(text) <= LENGTH_LIMIT:
        return text
    return f"{text[:180]}…{hashlib.sha256(text.encode()).hexdigest()}"


def _check_number(d: Draft, request: ParsedRequest) -> None:
    if request.verb not in NUMBERED:
        return
    if not d.running:
        raise Refused("no update is under way")
    if d.update.number != request.number:
        raise Refused(f"update {d.update.number} is under way, not {request.number}")


def _queue(d: Draft, *, full: bool) -> str:
    if d.spec.pin is not None or d.spec.suspend:
        raise Refused("nothing is trained while spec.pin or spec.suspend is set")
    if d.spec.strategy is Strategy.REGISTRY:
        raise Refused("strategy Registry trains nothing: move the alias, or request retry/… to try its version again")
    if d.spec.strategy is Strategy.ONLINE and not full:
        raise Refused("strategy Online trains on every event at once: request retrain/… for a full training")
    detail = "full" if full else ""
    d.put(pending_trigger=Trigger(kind=Reason.REQUESTED, detail=detail, at=d.now))
    return "an update starts as soon as none is under way"


def _run(d: Draft, _: ParsedRequest) -> str:
    return _queue(d, full=False)


def _retrain(d: Draft, _: ParsedRequest) -> str:
    return _queue(d, full=True)


def _retry(d: Draft, _: ParsedRequest) -> str:
    if d.running:
        raise Refused(f"update {d.update.number} is under way")
    seen = {key: value for key, value in d.status.seen.items() if key != "pin"}
    blocked = d.status.failed_revision is not None
    if blocked:
        seen["template"] = "retry"
    old = d.status.backoff
    backoff = Backoff(attempted_total=old.attempted_total, attempted=old.attempted)
    followed = d.status.followed.but(given_up="") if d.status.followed else None
    d.put(backoff=backoff, failed_revision=None, seen=seen, followed=followed)
    if d.spec.pin is None and not blocked and d.spec.strategy not in (Strategy.REGISTRY, Strategy.ONLINE):
        return _queue(d, full=False)
    return "tried again"


def _skip_window(d: Draft, request: ParsedRequest) -> str:
    if d.running:
        raise Refused(f"update {d.update.number} is under way; abort it first: abort/{d.update.number}/…")
    if d.status.recovering:
        raise Refused("status is being rebuilt; ask again when it is")
    if d.spec.strategy is not Strategy.INCREMENTAL:
        raise Refused(f"strategy {d.spec.strategy} has no window that begins where the last one ended")
    try:
        return skip_window(d, request.argument)
    except NothingToSkip as problem:
        raise Refused(str(problem)) from None


def _approve(d: Draft, request: ParsedRequest) -> str:
    if d.update.phase is not Phase.AWAITING_APPROVAL:
        raise Refused(f"update {d.update.number} is {d.update.phase}, not waiting for approval")
    d.put_update(approved_by=request.text)
    return "approved"


def _reject(d: Draft, request: ParsedRequest) -> str:
    if d.update.phase in AFTER_SWITCH or d.update.phase is Phase.ROLLING_BACK:
        raise Refused("traffic has been switched; use rollback/… or abort/…")
    finish(d, Phase.REJECTED, Reason.REJECTED, f"rejected by request {request.text}")
    return "rejected"


def _abort(d: Draft, request: ParsedRequest) -> str:
    if d.update.phase is Phase.ROLLING_BACK:
        raise Refused("it is being rolled back already")
    green = d.update.green
    switched = green is not None and switched_to(d, green)
    if d.update.phase is Phase.SWITCHING and switched:
        d.put(active=green, previous=d.status.active)
    if d.update.phase is Phase.BAKING or (d.update.phase is Phase.SWITCHING and switched):
        roll_back(d, Reason.ABORTED, f"aborted by request {request.text}")
    else:
        finish(d, Phase.ABORTED, Reason.ABORTED, f"aborted by request {request.text}")
    return "aborted"


def _promote(d: Draft, request: ParsedRequest) -> str:
    """Skip what the update waits for; a verdict that is overridden is recorded."""
    update = d.update
    if update.phase is Phase.BAKING:
        promote(d)
        return "bake ended by request"
    if update.phase is Phase.AWAITING_APPROVAL:
        return _approve(d, request)
    if update.phase is Phase.EVALUATING and update.evaluation is not None:
        d.put_update(evaluation=update.evaluation.but(overridden_by=request.text))
        passed(d)
        return "verdict overridden"
    raise Refused(
        f"update {update.number} is {update.phase}; promote works while it waits for approval, is held or bakes"
    )


def _rollback(d: Draft, request: ParsedRequest) -> str:
    if d.running:
        if d.update.phase is Phase.BAKING:
            roll_back(d, Reason.ROLLED_BACK_BY_REQUEST, f"request {request.text}", quarantine=True)
            return "going back"
        raise Refused(f"update {d.update.number} is {d.update.phase}; abort it first: abort/{d.update.number}/…")
    if d.status.online is not None and d.status.champion is not None:
        owe_revert(d, f"request {request.text}")
        return f"replicas go back to version {d.status.champion.version}, where the chain began"
    if d.status.previous is None:
        raise Refused("no previous revision is kept; pin a version instead (spec.pin)")
    start_rollback(d, Trigger(kind=Reason.REQUESTED, detail="rollback", at=d.now))
    return f"going back to version {d.update.candidate.version if d.update.candidate else '?'}"


def _unquarantine(d: Draft, request: ParsedRequest) -> str:
    rest = [q for q in d.status.quarantine if request.argument not in (q.digest, q.version)]
    if len(rest) == len(d.status.quarantine):
        raise Refused(f"{request.argument} is not in quarantine")
    for entry in d.status.quarantine:
        if entry not in rest:
            owe_tag(d, entry.version, QUARANTINE, LIFTED)
    d.put(quarantine=rest)
    return "taken off the list"


_VERBS: dict[Verb, Callable[[Draft, ParsedRequest], str]] = {
    Verb.RUN: _run,
    Verb.RETRAIN: _retrain,
    Verb.RETRY: _retry,
    Verb.SKIP_WINDOW: _skip_window,
    Verb.APPROVE: _approve,
    Verb.REJECT: _reject,
    Verb.ABORT: _abort,
    Verb.PROMOTE: _promote,
    Verb.ROLLBACK: _rollback,
    Verb.UNQUARANTINE: _unquarantine,
}
