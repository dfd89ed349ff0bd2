"""Which pod of a gang failed first and took the others with it.

A pod that is gone leaves its peers with broken connections: they end at once, with whatever exit code their image
has for that, or are stopped by the Job controller. Only the first end says whose fault it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final

from viridian_operator.kube.resources import Manifest
from viridian_operator.observe.termination import error_of, parse_message
from viridian_operator.observe.times import moment
from viridian_operator.observe.troubles import Disruption, disruption_of, terminated_state

#: exit codes by which the contract says that another attempt would end the same way, whatever else happened
_FINAL: Final = frozenset({3, 64, 65, 78})
#: reason by which a process says that another one went first
_PEER_LOST: Final = "PeerLost"
_KILLED, _STOPPED = 137, 143


class Weight(IntEnum):
    """How much an end says about the failure of the whole; the smallest counts."""

    FINAL = 0
    CAUSE = 1
    CONSEQUENCE = 2


@dataclass(frozen=True)
class PodEnd:
    """How the container of a pod failed, what ended the pod from outside, if anything, whether it was deleted
    and when it was created.
    """

    state: Mapping[str, Any]
    disruption: Disruption | None
    deleted: bool
    created_at: datetime | None

    @property
    def exit_code(self) -> int:
        """Of the container."""
        return int(self.state["exitCode"])

    @property
    def weight(self) -> Weight:
        """What an end says by itself."""
        if self.exit_code in _FINAL:
            return Weight.FINAL
        told, _ = error_of(parse_message(self.state.get("message")))
        return Weight.CONSEQUENCE if told == _PEER_LOST else Weight.CAUSE

    @property
    def order(self) -> tuple[int, str, int]:
        """Among equals the first. Moments are whole seconds: within one, a kill comes before what it causes, and a
        stop on request after what it is caused by.
        """
        if self.disruption or self.exit_code == _KILLED:
            rank = 0
        else:
            rank = 2 if self.exit_code == _STOPPED else 1
        return self.weight, self.state.get("finishedAt") or "", rank


def cause_of(pods: Iterable[Manifest], container: str) -> PodEnd | None:
    """The failure that explains those of the other pods; None if none is known to have failed."""
    ends = (_end(pod, container) for pod in pods)
    return min((end for end in ends if end is not None), key=lambda end: end.order, default=None)


def _end(pod: Manifest, container: str) -> PodEnd | None:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    state = next((terminated_state(each) for each in statuses if each.get("name") == container), None)
    if state is None or state.get("exitCode") in (0, None):
        return None
    meta = pod["metadata"]
    return PodEnd(
        state,
        disruption_of(pod),
        deleted=bool(meta.get("deletionTimestamp")),
        created_at=moment(meta.get("creationTimestamp")),
    )
