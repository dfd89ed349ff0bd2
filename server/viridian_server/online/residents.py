"""The states of a chain that are held in memory, and how one is made from another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from viridian_model.publication.follower import Position
from viridian_model.publication.head import Sequence
from viridian_model.publication.reverting import ANCHOR
from viridian_server.online.chain import ChainSnapshot
from viridian_server.residents import Residents

_NEWEST = 3


class ChainResidents:
    """What answers, the two states before it, and the anchor: a revert to one of them is the move of a pointer.

    Whoever makes the next state from the present one holds `writing`; readers never do.
    """

    def __init__(self, residents: Residents, served: Callable[[ChainSnapshot], None]) -> None:
        """``residents`` is where requests look; ``served`` is told what answers from now on."""
        self._residents, self._served = residents, served
        self._held: tuple[ChainSnapshot, ...] = ()
        self.writing = threading.RLock()

    @property
    def current(self) -> ChainSnapshot:
        """What answers."""
        return self._held[0]

    @property
    def held(self) -> tuple[ChainSnapshot, ...]:
        """Everything in memory, what answers first."""
        return self._held

    def begin(self, first: ChainSnapshot, anchor: ChainSnapshot) -> None:
        """Hold the state that answers first, and its anchor; `publish` lets requests see it."""
        self._held = tuple(dict.fromkeys((first, anchor)))

    def publish(self) -> None:
        """Let requests see what is held."""
        self._hold(self._held)

    def positions(self) -> list[Position]:
        """Where they stand."""
        return [each.position for each in self._held]

    def at(self, position: Position) -> ChainSnapshot:
        """Return the one at ``position``, which is one of `positions`."""
        return next(each for each in self._held if each.position == position)

    def find(self, to: str) -> ChainSnapshot | None:
        """Return the one that ``anchor`` or a sequence like ``7.3`` names, if it is here.

        Raises:
            ValueError: ``to`` is neither.
        """
        if to == ANCHOR:
            return next((each for each in self._held if _anchors(each, self.current)), None)
        wanted = Sequence.parse(to)
        return next((each for each in self._held if each.sequence == wanted), None)

    def swap(self, snapshot: ChainSnapshot, *, beside: ChainSnapshot | None = None) -> None:
        """Let ``snapshot`` answer; ``beside`` is an anchor that was loaded on the way.

        Rows that nobody refers to any more are given free after that.
        """
        anchors = [each for each in (beside, *self._held) if each is not None and _anchors(each, snapshot)]
        newest = [each for each in self._held if each.sequence != snapshot.sequence][: _NEWEST - 1]
        self._hold(tuple(dict.fromkeys((snapshot, *newest, *anchors[:1]))))
        for view in snapshot.weights.tables.values():
            view.arena.reclaim()

    def replace(self, repaired: Mapping[ChainSnapshot, ChainSnapshot]) -> None:
        """Put repaired states in the place of damaged ones."""
        self._hold(tuple(repaired.get(each, each) for each in self._held))

    def _hold(self, held: tuple[ChainSnapshot, ...]) -> None:
        self._held = held
        self._residents.hold(held)
        self._served(held[0])


def _anchors(each: ChainSnapshot, snapshot: ChainSnapshot) -> bool:
    return each.position.anchor == snapshot.position.anchor and not each.position.chain
