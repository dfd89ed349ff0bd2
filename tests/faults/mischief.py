"""What the proxy may do to a request, and to which one: small declarative objects."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import StrEnum

from faults.calls import Call


class Do(StrEnum):
    """Effects on a request."""

    DELAY = "delay"
    ANSWER = "answer"
    CUT = "cut"
    LOSE_REPLY = "lose-reply"
    HOLD = "hold"
    STALE = "stale"


class Events(StrEnum):
    """Effects on the events of a watch."""

    DROP = "drop"
    REPLAY = "replay"
    REORDER = "reorder"


@dataclass(frozen=True)
class Where:
    """Which calls are meant; empty means any.

    ``steps`` are the writes of an update (see ``Call.step``), ``reads`` single objects and lists.
    """

    resource: str = ""
    name: str = ""
    verbs: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    steps: bool = False
    reads: bool = False

    def fits(self, call: Call) -> bool:
        """Whether ``call`` is one of them; Leases only if they are named, since losing them is another test."""
        return (
            (self.resource == call.resource or (not self.resource and call.resource != "leases"))
            and self.name in ("", call.name)
            and (not self.verbs or call.verb in self.verbs)
            and (not self.phases or call.phase in self.phases)
            and (not self.steps or call.step)
            and (not self.reads or call.verb in ("get", "list"))
            and (call.verb != "watch" or "watch" in self.verbs)
        )


@dataclass
class Fault:
    """``do`` to ``times`` calls that fit ``where``, from the ``nth`` on."""

    do: Do
    where: Where = Where()
    nth: int = 1
    times: int = 1
    code: int = 500
    seconds: float = 1.0
    seen: int = 0
    hit: list[Call] = field(default_factory=list)
    happened: threading.Event = field(default_factory=threading.Event)
    #: ends a ``HOLD``
    released: threading.Event = field(default_factory=threading.Event)

    def takes(self, call: Call) -> bool:
        """Count ``call`` and say whether it is to be disturbed."""
        if not self.where.fits(call):
            return False
        self.seen += 1
        if not self.nth <= self.seen < self.nth + self.times:
            return False
        self.hit.append(call)
        return True


@dataclass
class WatchFault:
    """``do`` to events of the watches of ``resource`` (any if empty) while ``phases`` last, ``times`` of them."""

    do: Events
    resource: str = ""
    phases: tuple[str, ...] = ()
    times: int = 1000
    hit: int = 0

    def takes(self, resource: str, phase: str) -> bool:
        """Count an event and say whether it is to be disturbed."""
        if self.resource not in ("", resource) or (self.phases and phase not in self.phases):
            return False
        self.hit += 1
        return self.hit <= self.times
