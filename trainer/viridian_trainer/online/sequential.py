"""A test that may be looked at after every step: are the online weights worse than those of the champion?

Testing by betting (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86,
2024): with the hypothesis "on average over what comes, the loss of the online weights exceeds that of the champion by
at most ``margin``", a bet of a fixed share on the opposite loses money on average. So capital of 1 reaches 1/alpha with
a probability of at most alpha, however long one plays and however often one looks (Ville's inequality).

* One observation is what one user brings in one step: the sum of the paired differences of the user's events, clipped
  to ±`CLIP` nats. Within a step a user's events may depend on each other in any way. The hypothesis is about the
  mean given everything before the step: few users who stay for long are the population while they stay.
* Several bets are placed at once (mixture). A paired difference of log losses has about twice its mean as variance
  where the champion is calibrated, and then a share near one half grows fastest; that bet gets most of the capital.
* A model that gets worse late must not first win back what was lost before. So half of the capital is kept back, and
  bet in parts at later starts (a mixture over the time of change, as in e-detectors; Shin, Ramdas, Rinaldo, NEJSDS 2,
  2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from viridian_trainer.gate.statistics import Floats, Ints

#: Greatest gain or loss of one user in one step that counts, in nats.
CLIP = 2.0
#: Shares of the capital that are bet, and how much of the capital each gets. A share below 1/CLIP is never ruined.
BETS = np.array([0.45, 0.2, 0.05])
CAPITAL = np.array([0.75, 0.15, 0.1])
#: Events between two starts, and the number of starts that most of the capital that is kept back is meant for.
START_EVERY, STARTS = 1000, 20

Verdict = Literal["Holds", "Worse"]


class Evidence:
    """The capital of one test, or of many at once (``[*tests, bets]``), and its ``greatest`` sum (``[*tests]``)."""

    def __init__(self, tests: tuple[int, ...] = ()) -> None:
        self.events = self.starts = 0
        self.capital: Floats = np.zeros((*tests, len(BETS)))
        self.greatest: Floats = np.ones(tests)

    def add(self, units: Floats, events: int) -> None:
        """Play one step: ``units`` ``[*tests, n]`` are clipped observations less the margin, of ``events`` events."""
        while self.starts * START_EVERY <= self.events:
            self.capital += CAPITAL * _stake(self.starts)
            self.starts += 1
        self.capital *= np.prod(1.0 + BETS[:, None] * units[..., None, :], axis=-1)
        self.events += events
        kept_back = 0.5 * STARTS / (self.starts - 1 + STARTS)
        self.greatest = np.maximum(self.greatest, self.capital.sum(axis=-1) + kept_back)


def _stake(start: int) -> float:
    """Half for the first start; later ones get less and less, one half in all."""
    return 0.5 if start == 0 else 0.5 * STARTS / ((start - 1 + STARTS) * (start + STARTS))


class SequentialTest:
    """The test of one champion; a new champion begins a new one."""

    def __init__(self, alpha: float, margin: float) -> None:
        """``alpha`` bounds the probability that a champion's whole life sees a false stop; ``margin`` in nats."""
        self._alpha, self._margin = alpha, margin
        self._evidence = Evidence()

    def add(self, differences: Floats, users: Ints) -> None:
        """Take a step: how much greater the loss of the online weights was, nats ``[n]``, and hashes of the users."""
        if len(differences):
            self._evidence.add(units(differences, users, self._margin), len(differences))

    @property
    def verdict(self) -> Verdict:
        """``Worse`` once the evidence suffices, and for ever then."""
        return "Worse" if self.bound <= self._alpha else "Holds"

    @property
    def bound(self) -> float:
        """Anytime-valid p-value: such evidence comes at most this often if the hypothesis is true."""
        return 1.0 / max(1.0, float(self._evidence.greatest))

    @property
    def events(self) -> int:
        """Events seen by the test."""
        return self._evidence.events

    def wire(self) -> dict[str, Any]:
        """State for a checkpoint; `load` gives exactly the same test."""
        found = self._evidence
        greatest, capital = float(found.greatest), found.capital.tolist()
        return {"events": found.events, "starts": found.starts, "greatest": greatest, "capital": capital}

    def load(self, wire: Mapping[str, Any]) -> Self:
        """Go on from what `wire` gave."""
        found = self._evidence
        found.events, found.starts = int(wire["events"]), int(wire["starts"])
        found.greatest, found.capital = np.array(wire["greatest"]), np.array(wire["capital"])
        return self


def units(differences: Floats, users: Ints, margin: float) -> NDArray[np.float64]:
    """One clipped observation per user ``[users]``; what is not finite counts as worst."""
    _, positions = np.unique(users, return_inverse=True)
    finite = np.nan_to_num(differences - margin, nan=CLIP, posinf=CLIP, neginf=-CLIP)
    return np.clip(np.bincount(positions, weights=finite), -CLIP, CLIP)
