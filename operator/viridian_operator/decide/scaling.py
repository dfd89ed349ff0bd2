"""Phases ``Scaling`` and ``Switching``: full size, proof from every endpoint, then one atomic switch."""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Bake, Intent, Phase, Revision
from viridian_operator.decide.capacity import replaces, swaps
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.revisions import (
    answers,
    fail_revision,
    fatal_trouble,
    green_of,
    obstacle,
    only_endpoints_of,
    switched_to,
    unproven,
)
from viridian_operator.decide.rolling_back import roll_back
from viridian_operator.decide.swap_choice import swap_for_want_of_room


def scale(d: Draft) -> None:
    """Green gets the size that blue has at this moment, so that it can carry blue's load."""
    if swaps(d.update):
        _ask_again(d)
        return
    active = d.status.active
    replicas = max(1, d.spec.serving.replicas, _size_of(d, active.hash if active else None))
    d.put_update(replicas=replicas)
    deadlines = d.spec.rollout.deadlines
    d.enter(Phase.SCALING, f"scaling to {replicas} pods", limit=deadlines.schedule + deadlines.load)


def _ask_again(d: Draft) -> None:
    """In a hot swap nothing is scaled, but pods may have come and gone while a person decided."""
    green = green_of(d)
    d.put_update(restarts=sum(pod.restarts for pod in d.seen.pods_of(green.hash)))
    d.enter(Phase.SCALING, "asking every pod again", limit=d.spec.rollout.deadlines.load)


def scaling(d: Draft) -> None:
    """Switch only when every wanted pod is ready and every one has proven what it serves."""
    green = green_of(d)
    pods = d.seen.pods_of(green.hash)
    if trouble := fatal_trouble(pods):
        fail_revision(d, *trouble)
        return
    if fully_ready(d, green):
        problem = unproven(d, green)
        if problem is None:
            _decide_switch(d, green)
            return
        reason, message, final = problem
        d.say(message)
        d.look_after(0.5)
        if final or d.overdue:
            fail_revision(d, reason, message)
        return
    waiting = obstacle(d, green)
    ready = d.seen.ready_of(green.hash)
    d.say(f"{ready} of {d.update.replicas} pods ready" + (f"; {waiting[1]}" if waiting else ""))
    late = d.now >= d.update.phase_since + d.spec.rollout.deadlines.schedule
    if not late:
        d.look_at(d.update.phase_since + d.spec.rollout.deadlines.schedule)
    if late and swap_for_want_of_room(d, waiting):
        return
    if d.overdue or (late and not all(pod.scheduled for pod in pods)):
        fail_revision(d, waiting[0] if waiting else Reason.DEADLINE_EXCEEDED, d.update.message)


def fully_ready(d: Draft, green: Revision) -> bool:
    """Whether 100 % of the wanted pods are there and ready."""
    wanted = d.update.replicas or 1
    return d.seen.ready_of(green.hash) >= wanted and len(d.seen.pods_of(green.hash)) == wanted


def _decide_switch(d: Draft, green: Revision) -> None:
    """Write the intent; the Service changes only after this is in status."""
    limit = d.spec.rollout.deadlines.switch
    blue = d.seen.active_service.revision if d.seen.active_service else None
    intent = Intent(id=f"{d.update.number}-{green.hash}", source=blue, target=green.hash, deadline=d.now + limit)
    d.put_update(intent=intent, standby=_size_of(d, blue))
    d.enter(Phase.SWITCHING, f"switching to version {green.version}", limit=limit, reason=Reason.SWITCHING)


def switching(d: Draft) -> None:
    """Finish or undo what the intent says, as far as the cluster shows it."""
    green = green_of(d)
    switched = switched_to(d, green)
    if switched and only_endpoints_of(d, green) and answers(d, green):
        _switched(d, green)
        return
    if not switched and not fully_ready(d, green):
        d.put_update(intent=None)
        deadlines = d.spec.rollout.deadlines
        d.enter(Phase.SCALING, "a pod was lost before the switch", limit=deadlines.schedule + deadlines.load)
        return
    d.say(_waiting(d, switched=switched))
    d.look_after(0.2)
    if d.overdue and switched:
        _give_back(d, d.update.message)
    elif d.overdue:
        fail_revision(d, Reason.SWITCH_FAILED, d.update.message)  # no traffic went there: nothing to give back


def _waiting(d: Draft, *, switched: bool) -> str:
    if not switched:
        return "waiting for the Service to select the new revision"
    endpoints = set(d.seen.active_service.endpoints) if d.seen.active_service else set()
    return (
        f"switched; waiting until only the new revision answers (endpoints: {', '.join(sorted(endpoints)) or 'none'})"
    )


def _give_back(d: Draft, message: str) -> None:
    if d.status.active is None:
        d.put(active=green_of(d), previous=None)
        finish(d, Phase.FAILED, Reason.SWITCH_FAILED, message)
        return
    d.put(active=green_of(d), previous=_choose_standby(d))
    roll_back(d, Reason.SWITCH_FAILED, message)


def _choose_standby(d: Draft) -> Revision | None:
    """What a rollback goes to: the active revision, unless it has lost its pods and the previous one answers, or had
    the traffic in its place. The size of one that had not is recorded; that of the other was before the switch."""
    active, previous, intent = d.status.active, d.status.previous, d.update.intent
    if active is None or previous is None or d.seen.ready_of(active.hash):
        return active
    if previous.hash == green_of(d).hash:  # what the update went back to
        return _recorded(d, active)
    if intent is not None and intent.source == previous.hash:
        return previous
    return _recorded(d, previous) if d.seen.ready_of(previous.hash) else active


def _recorded(d: Draft, blue: Revision) -> Revision:
    d.put_update(standby=_size_of(d, blue.hash))
    return blue


def _size_of(d: Draft, revision: str | None) -> int:
    """Replicas that the Deployment of a revision asks for at this moment."""
    deployment = d.seen.deployment_of(revision) if revision else None
    return deployment.replicas if deployment else 0


def _switched(d: Draft, green: Revision) -> None:
    blue = _choose_standby(d)
    if blue and blue.hash == green.hash:
        blue = None
    if replaces(d.update):
        d.put_update(outage_seconds=_since_preparing(d))
    bake(d, green, blue)


def bake(d: Draft, green: Revision, blue: Revision | None) -> None:
    """All traffic is green's: watch it, with blue standing by."""
    d.put(active=green.but(since=d.now), previous=blue, preview=None)
    wanted = d.spec.rollout.bake
    limit = wanted.deadline or max(3 * wanted.duration, wanted.duration + 6 * wanted.interval)
    restarts = sum(pod.restarts for pod in d.seen.pods_of(green.hash))
    d.put_update(bake=Bake(started_at=d.now, deadline=d.now + limit, restarts=restarts), intent=None)
    d.enter(
        Phase.BAKING,
        f"watching version {green.version} under full traffic",
        limit=limit,
        reason=Reason.BAKING,
    )
    outage = d.update.outage_seconds
    after = f" after an outage of at most {outage:.0f} s" if outage is not None else ""
    d.note(Reason.SWITCHED, f"all traffic goes to version {green.version}{after}")


def _since_preparing(d: Draft) -> float:
    began = next((p.started_at for p in d.update.phases if p.phase in (Phase.PREPARING, Phase.SCALING)), d.now)
    return round((d.now - began).total_seconds(), 3)
