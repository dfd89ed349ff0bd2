"""Strategy ``Online``: a trainer that publishes beside the updates, its anchors, and the way back to the champion.

Replicas follow the head of a chain in the store, which the trainer writes; the operator decides who writes it, judges
the anchors, and brings replicas back to the champion should the trainer not do so. The trainer keeps its chain for as
long as an update runs: a candidate that is rolled out has a chain of its own, and gets a trainer once it is champion.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from viridian_operator.api.conditions import Reason, Type, drop_condition, set_condition
from viridian_operator.api.online_status import OnlineStatus, OwedRevert, Replica
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Champion, Kind, ModelUpdateStatus
from viridian_operator.decide.decision import Action, DeleteOnlineTrainer, EnsureOnlineTrainer, RevertPods
from viridian_operator.decide.draft import ASK_AGAIN, Draft
from viridian_operator.decide.hashing import follows_chain
from viridian_operator.decide.observation import OnlineReport, PodView

#: figures in status are at most so old, if nothing else changes
REFRESH = timedelta(seconds=30)
#: seconds until pods that have to go back are looked at again, and for how long so often
_LOOK_BACK, _SOON = 0.5, timedelta(seconds=30)
#: at most so many pods are listed in status
REPLICAS_LISTED = 100
_REASONS = {
    "Publishing": Reason.PUBLISHING,
    "Shadow": Reason.SHADOW,
    "Stopped": Reason.STOPPED,
    "Starting": Reason.STARTING,
}


def trains_online(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> bool:
    """Whether there should be an online trainer: as soon as a champion serves from pods that follow a chain."""
    stopped = spec.suspend or spec.pin is not None or status.recovering is not None
    follows = status.active is not None and bool(status.active.chain)
    return follows_chain(spec) and not stopped and follows and status.champion is not None


def follow_online(d: Draft) -> None:
    """Which chain is written, what trainer and replicas say, and whether a way back has ended."""
    if not trains_online(d.spec, d.status):
        if d.status.online is not None:
            d.note(Reason.ONLINE_ENDED, "nothing is trained online any more; what was published serves on")
            d.put(online=None)
        return
    _give_chain(d)
    if (online := d.status.online) is not None:
        _take_figures(d, online)
        _end_revert(d)
        d.look_after(REFRESH.total_seconds())


def _give_chain(d: Draft) -> None:
    active, champion, online = d.status.active, d.status.champion, d.status.online
    if active is None or champion is None or (online is not None and online.chain == active.chain):
        return
    if d.running and d.update.kind is not Kind.ANCHOR:
        return  # what it rolls out may have to give back; until then the old chain is written
    d.put(online=OnlineStatus(chain=active.chain, parent=champion.model))
    d.note(Reason.ONLINE_STARTED, f"training online from version {champion.version} into chain {active.chain}")


def begin_anew(d: Draft, champion: Champion) -> None:
    """A trainer whose anchors are of another lineage than the champion's has missed a verdict: it starts from the
    champion that there is."""
    online = d.status.online
    if online is not None and online.parent != champion.model:
        d.put(online=online.but(parent=champion.model))
        d.note(Reason.ONLINE_STARTED, f"the online trainer begins anew from version {champion.version}", warn=True)


def _take_figures(d: Draft, old: OnlineStatus) -> None:
    """Into status whenever something more than numbers changed, else every half minute: each time is a write."""
    seen = d.seen.online
    report = seen.report if seen is not None and seen.chain == old.chain else None
    new = _reported(old, report) if report else old.but(state="", error=_failure(d))
    new = new.but(replicas=_replicas(d, old), checked_at=d.now)
    if _notable(new) == _notable(old) and old.checked_at is not None and d.now < old.checked_at + REFRESH:
        return
    _tell(d, old, new)
    d.put(online=new)


def _reported(old: OnlineStatus, report: OnlineReport) -> OnlineStatus:
    return old.but(
        state=report.state,
        sequence=report.sequence,
        root=report.root,
        event_time=report.event_time if report.event_time is not None else old.event_time,
        lag_events=report.lag_events,
        lag_seconds=report.lag_seconds,
        deltas_per_second=report.deltas_per_second,
        reverts=report.reverts,
        p_value=report.p_value,
        metrics={model: dict(values) for model, values in report.metrics.items()},
        pending=report.pending,
        error=report.error,
    )


def _failure(d: Draft) -> str:
    seen = d.seen.online
    return (seen.failure if seen else "") or "its pod does not answer"


def _notable(online: OnlineStatus) -> tuple[object, ...]:
    """What people want to know at once."""
    replicas = tuple((each.pod, each.version, each.since, each.repaired) for each in online.replicas)
    return online.state, online.pending, online.reverts, online.error, replicas


def _tell(d: Draft, old: OnlineStatus, new: OnlineStatus) -> None:
    if new.reverts > old.reverts and old.state:
        why = new.error or "the head was reverted"
        d.note(Reason.REVERTED, f"replicas went back to the champion: {why}", warn=True)
    elif new.state != old.state and new.state in ("Publishing", "Shadow", "Stopped"):
        why = f": {new.error}" if new.error else ""
        d.note(_REASONS[new.state], f"online trainer: {new.state}{why}", warn=new.state != "Publishing")
    known = {each.pod: each.repaired for each in old.replicas}
    for each in new.replicas:
        if each.repaired > known.get(each.pod, 0):
            what = f" ({each.damage})" if each.damage else ""
            message = f"{each.pod} found its memory damaged{what} and repaired it, at sequence {each.sequence}"
            d.note(Reason.REPAIRED, message, warn=True)


def _replicas(d: Draft, old: OnlineStatus) -> list[Replica]:
    """Who answers with what, and since when with this anchor and epoch."""
    known = {each.pod: each for each in old.replicas}
    found = (_replica(d, pod, known.get(pod.name)) for pod in _followers(d))
    return [each for each in found if each][:REPLICAS_LISTED]


def _replica(d: Draft, pod: PodView, known: Replica | None) -> Replica | None:
    if pod.identity is None:
        return known
    said = pod.identity
    same = known is not None and (known.version, _epoch(known.sequence)) == (said.version, _epoch(said.sequence))
    return Replica(
        pod=pod.name,
        version=said.version,
        sequence=said.sequence,
        root=said.root,
        repaired=said.repaired,
        damage=said.damage,
        since=known.since if known is not None and same else d.now,
    )


def _epoch(sequence: str) -> str:
    return sequence.partition(".")[0]


def _followers(d: Draft) -> tuple[PodView, ...]:
    """Ready pods of what serves."""
    active = d.status.active
    return tuple(pod for pod in d.seen.pods_of(active.hash) if pod.ready) if active else ()


def owe_revert(d: Draft, reason: str) -> None:
    """Replicas have to go back to the champion, from which their chain began."""
    online = d.status.online
    if online is None:
        return
    places = [pod.identity.place for pod in _followers(d) if pod.identity and pod.identity.place]
    epoch = max((place[0] for place in places), default=int(_epoch(online.sequence) or 0))
    d.put(online=online.but(revert=OwedRevert(epoch=epoch, reason=reason, since=d.now)))


def _beyond(d: Draft, owed: OwedRevert) -> list[PodView]:
    """Pods that still answer with deltas of the epoch that was left."""
    places = ((pod, pod.identity.place if pod.identity else None) for pod in _followers(d))
    return [pod for pod, place in places if place is not None and place[0] <= owed.epoch and place[1] > 0]


def _end_revert(d: Draft) -> None:
    online = d.status.online
    if online is None or online.revert is None:
        return
    silent = any(pod.identity is None for pod in _followers(d))
    if _beyond(d, online.revert) or silent:
        soon = d.now < online.revert.since + _SOON
        d.look_after(_LOOK_BACK if soon else ASK_AGAIN)
        return
    seconds = (d.now - online.revert.since).total_seconds()
    d.put(online=online.but(revert=None))
    d.note(Reason.REVERTED, f"all replicas are back at the champion after {seconds:.1f} s: {online.revert.reason}")


def wanted_trainer(d: Draft) -> Iterator[Action]:
    """The trainer, or its end; pods that have to go back."""
    online = d.status.online
    if online is None:
        if d.seen.online is not None:
            yield DeleteOnlineTrainer()
        return
    yield EnsureOnlineTrainer(chain=online.chain, parent=online.parent)
    if online.revert and (pods := _beyond(d, online.revert)):
        yield RevertPods(tuple(pod.ip for pod in pods if pod.ip), online.revert.reason)


def tell_training(d: Draft) -> None:
    """The condition: whether replicas get what is trained, and if not, why."""
    online = d.status.online
    if online is None:
        d.put(conditions=drop_condition(d.status.conditions, Type.ONLINE_TRAINING))
        return
    value, reason, message = _word(online)
    conditions = set_condition(
        d.status.conditions, Type.ONLINE_TRAINING, value, reason, message, generation=d.seen.generation, now=d.now
    )
    d.put(conditions=conditions)


def _word(online: OnlineStatus) -> tuple[bool | None, Reason, str]:
    if not online.state:
        return None, Reason.ONLINE_NOT_READY, f"the online trainer says nothing: {online.error or 'it starts'}"
    publishes = online.state == "Publishing"
    where = f"sequence {online.sequence} of chain {online.chain}" if online.sequence else f"chain {online.chain}"
    why = f"; {online.error}" if online.error and not publishes else ""
    return publishes, _REASONS.get(online.state, Reason.STARTING), f"{online.state} at {where}{why}"
