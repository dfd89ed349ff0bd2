"""Whether a candidate can be hot swapped, and how such an update begins.

Weights alone may change: pods, template and graph stay what they are. Whatever cannot be told is a reason against it,
and a second revision beside the first is the way for everything else.
"""

from __future__ import annotations

from viridian_operator.api.conditions import Reason
from viridian_operator.api.health import Baseline, HealthCheck
from viridian_operator.api.rollout import Capacity
from viridian_operator.api.serving import IdentityPolicy
from viridian_operator.api.status import Candidate, Kind, Phase, Revision
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.hashing import follows_chain, template_hash
from viridian_operator.decide.revisions import UNPLACED


def swap_if_chosen(d: Draft, candidate: Candidate) -> bool:
    """Begin a hot swap where ``rollout.capacity`` is HotSwap and nothing is in the way; what is, stands in status."""
    if d.update.capacity != Capacity.HOT_SWAP:
        return False
    if against := unswappable(d, candidate):
        d.put_update(room=f"not hot swapped: {against}")
        d.note(Reason.NOT_SWAPPABLE, f"version {candidate.version} gets pods of its own: {against}")
        return False
    begin_swap(d, candidate, "capacity HotSwap: graph, schema and template are what they were")
    return True


def swap_for_want_of_room(d: Draft, trouble: tuple[Reason, str] | None) -> bool:
    """``Auto``: hot swap after all where a second revision finds no room."""
    candidate = d.update.candidate
    if d.update.capacity != Capacity.AUTO or candidate is None or trouble is None:
        return False
    if trouble[0] not in UNPLACED | {Reason.REPLICA_FAILURE}:
        return False
    if against := unswappable(d, candidate):
        d.put_update(room=f"not hot swapped either: {against}")
        return False
    begin_swap(d, candidate, f"no room for a second revision: {trouble[1]}")
    return True


def unswappable(d: Draft, candidate: Candidate) -> str:
    """Why the pods that serve cannot take ``candidate``; "" if they can."""
    active = d.status.active
    if active is None:
        return "nothing serves yet"
    if active.chain or follows_chain(d.spec):
        return "pods that follow a chain are not told which version to serve"
    if d.update.kind is Kind.REDEPLOY or active.template_hash != template_hash(d.spec):
        return "the serving template has changed"
    if d.spec.serving.identity is not IdentityPolicy.DIGEST:
        return "with identity ReadinessOnly no pod tells what it has loaded"
    if not active.swappable:
        return f"the pods of version {active.version} were made for that version alone"
    return _other_graph(active, candidate) or _unable_pods(d, active) or _comparing_check(d)


def _other_graph(active: Revision, candidate: Candidate) -> str:
    if candidate.digest == active.digest:
        return "it has the digest that serves already"
    for version, graph in ((active.version, active.graph), (candidate.version, candidate.graph)):
        if not graph:
            return f"version {version} does not say which graph it has (tag viridian.graph)"
    return "" if candidate.graph == active.graph else "graph or schema have changed"


def _unable_pods(d: Draft, active: Revision) -> str:
    service = d.seen.active_service
    if service is None or service.revision != active.hash:
        return f"version {active.version} does not have the traffic"
    answers = [pod.identity for pod in d.seen.pods_of(active.hash) if pod.ready and pod.identity]
    if not answers:
        return f"no pod of version {active.version} answers"
    return "" if all(answer.residents is not None for answer in answers) else "the serving image knows no hot swaps"


def _comparing_check(d: Draft) -> str:
    """After a hot swap nobody serves the old version any more that a check could ask at the same time."""
    found = next((check.name for check in d.spec.rollout.health_checks if _compares(check)), None)
    return f"health check {found} compares two revisions side by side" if found else ""


def _compares(check: HealthCheck) -> bool:
    if check.latency is not None:
        return check.latency.max_ratio is not None
    query = check.prometheus
    return query is not None and query.max_ratio is not None and query.baseline is not Baseline.BEFORE_SWITCH


def begin_swap(d: Draft, candidate: Candidate, why: str) -> None:
    """The same Deployment with another version; pods of a second one that found no room go."""
    active = d.status.active
    if active is None:
        raise LookupError(f"update {d.update.number} swaps, but nothing is active")
    green = active.but(
        version=candidate.version,
        digest=candidate.digest,
        event_time=candidate.event_time,
        graph=candidate.graph,
        since=d.now,
        until=None,
    )
    d.put(preview=None)
    restarts = sum(pod.restarts for pod in d.seen.pods_of(active.hash))
    d.put_update(green=green, hot_swap=True, room=why, restarts=restarts, replicas=None)
    message = f"pods of version {active.version} load version {green.version} beside it"
    d.enter(Phase.PREPARING, message, limit=d.spec.rollout.deadlines.load)
    d.note(Reason.PREPARING, f"update {d.update.number}: {message} ({why})")
