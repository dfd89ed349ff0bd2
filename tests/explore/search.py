"""Search through the states that are reachable from a fresh and from a serving ModelUpdate.

A state is taken from the frontier at random, something happens to a copy of it, and what comes out joins
the frontier if no equivalent state was seen before (visited set of 64-bit fingerprints). Every state is
judged by the invariants that the operator watches and by what the world checks at each effect; from
sampled ones, undisturbed passes must end the update.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from simulation import World, following, spec, swapping
from tests.explore.abstraction import fingerprint
from tests.explore.actions import HAPPENINGS

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Phase
from viridian_operator.decide.invariants import violations
from viridian_operator.decide.observation import Slot

FRONTIER = 20_000
_NEWEST = 100
#: one state in so many is followed to the end of its update
SAMPLED = 200
#: passes after which an undisturbed update must have ended, the second half of them half an hour apart
PATIENCE = 200
_HALF_AN_HOUR = 1800.0


class Found(AssertionError):
    """A property that does not hold, and how the world came to that."""


@dataclass(frozen=True)
class Trace:
    """What led to a state."""

    name: str
    before: Trace | None = field(default=None, repr=False)

    def names(self) -> list[str]:
        """All that happened, oldest first."""
        names: list[str] = []
        trace: Trace | None = self
        while trace:
            names.append(trace.name)
            trace = trace.before
        return names[::-1]


@dataclass(frozen=True)
class Node:
    """A state of the frontier."""

    world: World = field(repr=False)
    trace: Trace


@dataclass
class Search:
    """One seeded search; the same seed finds the same states."""

    seed: int
    visited: set[int] = field(default_factory=set, repr=False)
    frontier: list[Node] = field(default_factory=list, repr=False)
    steps: int = 0
    followed: int = 0

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        followed = following(data=None, evaluation={})
        for name, chosen in (
            ("a fresh ModelUpdate", spec()),
            ("a serving ModelUpdate", spec()),
            ("a ModelUpdate that follows an alias", followed),
            ("a hot swap that begins", swapping()),
        ):
            world = World(wire=False, spec=chosen)
            if chosen.follow:
                world.publish()
            if name != "a fresh ModelUpdate":
                world.settle()
            if name == "a hot swap that begins":
                world.events += 1500
                world.run(lambda w: w.status.phase is Phase.PREPARING)
            self._add(Node(world, Trace(name)))

    def run(self, states: int, seconds: float, progress: Callable[[Search], None] | None = None) -> None:
        """Until so many distinct states were seen or so much time has passed.

        Raises
        ------
        Found
            With the path to the first state in which something does not hold.
        """
        end = time.monotonic() + seconds
        while len(self.visited) < states and time.monotonic() < end:
            self._expand(self._next())
            if progress and self.steps % 10_000 == 0:
                progress(self)

    def _next(self) -> Node:
        """Mostly one of the newest, so that the search gets deep; else any, so that it gets wide."""
        size = len(self.frontier)
        oldest = max(0, size - _NEWEST) if self.rng.random() < 0.7 else 0
        return self.frontier[self.rng.randrange(oldest, size)]

    def _expand(self, node: Node) -> None:
        self.steps += 1
        happening = self.rng.choices(*_WEIGHTED)[0]
        world = node.world.clone()
        child = Node(world, Trace(happening.__name__, node.trace))
        try:
            happening(world, self.rng)
            check(world)
            if self._add(child) and len(self.visited) % SAMPLED == 0:
                self.followed += 1
                ends(world.clone())
        except (AssertionError, LookupError, ValueError) as error:
            raise Found(f"{type(error).__name__}: {error}\n  " + "\n  ".join(child.trace.names())) from error

    def _add(self, node: Node) -> bool:
        world = node.world
        for past in (world.log, world.notes, world.switches):
            past.clear()
        seen = fingerprint(world)
        if seen in self.visited:
            return False
        self.visited.add(seen)
        if len(self.frontier) == FRONTIER:
            # an older one, so that the newest stay together at the end
            del self.frontier[self.rng.randrange(FRONTIER - _NEWEST)]
        self.frontier.append(node)
        return True


_WEIGHTED = ([happening for happening, _ in HAPPENINGS], [weight for _, weight in HAPPENINGS])


def check(world: World) -> None:
    """What must hold in every state."""
    broken = violations(world.spec, world.status, world.observe())
    assert not broken, broken
    update = world.status.update
    if update and not update.running and update.reason == Reason.VERSION_MISSING:
        found = [v.version for v in world.versions.values() if v.update.endswith(f"/{update.number}")]
        assert not found, f"an error was taken for absence: version {found} exists"


def ends(world: World) -> None:
    """Nothing disturbs any more: every update comes to an end in its deadlines, whatever went before."""
    world.registry_up = True
    world.slot = Slot()
    first = world.status.update
    for count in range(PATIENCE):
        update = world.status.update
        if not (first and first.running) or update is None or update.number != first.number or not update.running:
            return
        world.step()
        # a watch wakes the operator when something changes, so first seconds pass, then deadlines
        world.tick(2 if count < PATIENCE // 2 else _HALF_AN_HOUR)
    raise AssertionError(f"update never ends: {world.status.update}")
