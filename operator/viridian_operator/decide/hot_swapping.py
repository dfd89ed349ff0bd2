"""The phases of a hot swap: every pod loads the candidate, then all are told to serve it, or to go back.

Two steps (a commit in two phases, with the ConfigMap as its record): nothing is flipped before every pod holds the
candidate and the record names it, so that the time in which callers meet both versions is that of one round of calls,
and a pod that starts meanwhile comes up with what the others are about to serve.
"""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Intent, Phase, Revision
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.preparing import verified
from viridian_operator.decide.residents import counted, is_recorded, unanswered, unstaged
from viridian_operator.decide.revisions import (
    CRASHES,
    FATAL,
    answers,
    fail_revision,
    green_of,
    only_endpoints_of,
    switched_to,
)
from viridian_operator.decide.rolling_back import roll_back, rolled_back
from viridian_operator.decide.scaling import bake

#: seconds between two looks while pods load, and while they are told
_LOADING, _FLIPPING = 1.0, 0.2


def staging(d: Draft) -> None:
    """``Preparing``: wait until every pod has loaded, verified and warmed up the candidate."""
    green = green_of(d)
    if d.seen.registry.lacks(f"version:{green.version}"):
        fail_revision(d, Reason.VERSION_MISSING, f"the registry has no version {green.version}")
    elif _all_hold(d, green):
        pods = len(counted(d, green))
        d.enter(Phase.VERIFYING, f"asking {pods} pods what they loaded", limit=d.spec.rollout.deadlines.verify)


def verifying(d: Draft) -> None:
    """``Verifying``: a fresh look at every pod."""
    green = green_of(d)
    if _all_hold(d, green):
        verified(d, green)


def gathering(d: Draft) -> None:
    """``Scaling``: once more right before the switch, for the pods that came and went meanwhile."""
    green = green_of(d)
    if _all_hold(d, green):
        _decide_switch(d, green)


def _all_hold(d: Draft, green: Revision) -> bool:
    """Whether every pod holds the candidate; ends the update if one never will, or not in time."""
    if harm := _harmed(d, green):
        reason, message, of_the_version = harm
        d.put_update(quarantine=of_the_version)
        finish(d, Phase.FAILED, reason, message)
        return False
    problem = unstaged(d, green)
    if problem is None:
        return True
    reason, message, final = problem
    d.say(message)
    d.look_after(_LOADING)
    if final or d.overdue:
        fail_revision(d, Reason.DEADLINE_EXCEEDED if reason is Reason.PREPARING else reason, message)
    return False


def _harmed(d: Draft, green: Revision) -> tuple[Reason, str, bool] | None:
    """A pod that serves died while it loaded the candidate, which is not worth a second one: reason, sentence, whether
    the cause is known to lie in the candidate."""
    pods = d.seen.pods_of(green.hash)
    for pod in pods:
        if pod.trouble in CRASHES:
            message = f"{pod.name} died while version {green.version} was loaded: {pod.message}"
            return CRASHES[pod.trouble], message, True
    if d.update.restarts is not None and sum(pod.restarts for pod in pods) > d.update.restarts:
        return Reason.CRASH_LOOP, f"a container died while version {green.version} was loaded", False
    return None


def _decide_switch(d: Draft, green: Revision) -> None:
    """Write the intent; ConfigMap and pods change only after this is in status."""
    active, limit = d.status.active, d.spec.rollout.deadlines.switch
    source = active.digest if active else None
    intent = Intent(id=f"{d.update.number}-{green.version}", source=source, target=green.digest, deadline=d.now + limit)
    d.put_update(intent=intent)
    d.enter(Phase.SWITCHING, f"switching to version {green.version}", limit=limit, reason=Reason.SWITCHING)


def flipping(d: Draft) -> None:
    """``Switching``: finish or undo what the intent says, as far as the pods show it."""
    green, old = green_of(d), d.status.active
    switched = switched_to(d, green)
    if switched and (bad := _bad_answer(d, green, old)):
        _give_back(d, *bad, quarantine=True)
        return
    late = unanswered(d, green)
    if is_recorded(d, green) and not late and _proven(d, green):
        bake(d, green, old)
        return
    if not switched and unstaged(d, green):
        d.put_update(intent=None)
        deadlines = d.spec.rollout.deadlines
        d.enter(Phase.SCALING, "a pod was lost before the switch", limit=deadlines.schedule + deadlines.load)
        return
    d.say(f"switching to version {green.version}: {late or 'waiting for golden answers, and those of the Service'}")
    d.look_after(_FLIPPING)
    if d.overdue and switched:
        _give_back(d, Reason.SWITCH_FAILED, d.update.message)
    elif d.overdue:
        fail_revision(d, Reason.SWITCH_FAILED, d.update.message)


def _proven(d: Draft, green: Revision) -> bool:
    golden = all(pod.golden == "" for pod in counted(d, green))
    return golden and only_endpoints_of(d, green) and answers(d, green)


def _bad_answer(d: Draft, green: Revision, old: Revision | None) -> tuple[Reason, str] | None:
    """What no waiting will mend: a pod that died, that serves neither of both, or whose golden answers are wrong."""
    known = {green.digest, old.digest if old else ""}
    for pod in d.seen.pods_of(green.hash):
        if pod.trouble in CRASHES or pod.trouble in FATAL:
            return (CRASHES | FATAL)[pod.trouble], f"{pod.name} in the switch: {pod.message}"
        if pod.identity is None or not pod.ready:
            continue
        if pod.identity.digest not in known:
            return Reason.IDENTITY_MISMATCH, f"{pod.name} serves {pod.identity.digest}"
        if pod.golden and pod.identity.digest == green.digest:
            return Reason.GOLDEN_FAILED, f"{pod.name}: {pod.golden}"
    return None


def _give_back(d: Draft, reason: Reason, message: str, *, quarantine: bool = False) -> None:
    d.put(active=green_of(d), previous=d.status.active)
    roll_back(d, reason, message, quarantine=quarantine)


def flipping_back(d: Draft) -> None:
    """``RollingBack``: the old version is in the memory of most pods; one that restarted loads it again."""
    blue = d.status.previous
    if blue is None:
        finish(d, Phase.FAILED, Reason.ROLLBACK_BLOCKED, "there is no version to go back to")
        return
    back = is_recorded(d, blue)
    ready = [pod for pod in d.seen.pods_of(blue.hash) if pod.ready]
    serving = [pod for pod in ready if pod.identity and pod.identity.digest == blue.digest]
    if back and ready and len(serving) == len(ready) and answers(d, blue):
        rolled_back(d, blue)
        return
    d.look_after(_FLIPPING)
    if not d.overdue:
        return
    if back and serving:
        rolled_back(d, blue)  # the others are told until they do, see ``residents.calls``
    else:
        message = f"no pod serves version {blue.version} again: {d.update.message}"
        finish(d, Phase.FAILED, Reason.ROLLBACK_BLOCKED, message)
