"""Phase ``RollingBack``: the way back to the previous revision."""

from __future__ import annotations

from datetime import timedelta

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Intent, Phase, Revision
from viridian_operator.decide.capacity import replaces, swaps
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.revisions import answers, only_endpoints_of


def roll_back(d: Draft, reason: Reason, message: str, *, quarantine: bool = False) -> None:
    """Back to the previous revision; never conditional on the health of what we leave."""
    d.put_update(quarantine=quarantine)
    if d.status.previous is None:
        # the first version has nothing to go back to: it keeps the traffic but is not champion,
        # and its digest stays usable
        d.put_update(quarantine=False)
        finish(d, Phase.FAILED, reason, f"{message}; nothing to roll back to, it keeps the traffic")
        return
    blue = d.status.previous
    left, by_digest = d.status.active, swaps(d.update)
    source = (left.digest if by_digest else left.hash) if left else None
    target = blue.digest if by_digest else blue.hash
    intent = Intent(id=f"{d.update.number}-back-{target}", source=source, target=target, deadline=d.now + _limit(d))
    # what is left is active now; were it the preview as well, it would shrink to its size while it has the traffic
    d.put(preview=None)
    d.put_update(intent=intent)
    d.enter(Phase.ROLLING_BACK, message, limit=_limit(d), reason=reason)
    d.note(Reason.ROLLING_BACK, f"going back to version {blue.version}: {message}", warn=True)


def _limit(d: Draft) -> timedelta:
    deadlines = d.spec.rollout.deadlines
    if swaps(d.update):
        return deadlines.switch + deadlines.load  # a pod that restarted has to load what served before
    # what was stopped for the candidate has to start again first
    return deadlines.switch + (deadlines.schedule + deadlines.load if replaces(d.update) else timedelta())


def rolling_back(d: Draft) -> None:
    """Traffic on blue as soon as blue has a ready endpoint; owed until then."""
    blue = d.status.previous
    if blue is None:
        finish(d, Phase.FAILED, Reason.ROLLBACK_BLOCKED, "there is no revision to go back to")
        return
    service = d.seen.active_service
    back = service is not None and service.revision == blue.hash
    if back and only_endpoints_of(d, blue) and answers(d, blue):
        rolled_back(d, blue)
        return
    d.look_after(0.2)
    if not d.overdue:
        return
    if back:
        rolled_back(d, blue)
    elif d.seen.ready_of(blue.hash) == 0:
        message = f"version {blue.version} has no ready endpoint to go back to: {d.update.message}"
        d.put(previous=blue)
        finish(d, Phase.FAILED, Reason.ROLLBACK_BLOCKED, message)


def rolled_back(d: Draft, blue: Revision) -> None:
    """The way back has ended: what served before is active again."""
    reason, message = Reason(d.update.reason), d.update.message
    d.put(active=blue, previous=None, preview=None)
    end = Phase.ABORTED if reason is Reason.ABORTED else Phase.ROLLED_BACK
    finish(d, end, reason, f"{message}; version {blue.version} serves again")
