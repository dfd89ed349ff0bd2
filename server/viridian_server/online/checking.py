"""Periodic checks of memory: when, how gently, and what is told of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from viridian_server.failure import LoadFailure
from viridian_server.metrics import Metrics
from viridian_server.online.chain import ChainSnapshot
from viridian_server.online.consistency import Damage, Pace, inspect
from viridian_server.online.mending import CannotRepair, Mender, Repaired
from viridian_server.online.residents import ChainResidents

log = logging.getLogger(__name__)


class Checker:
    """Checks what answers, repairs it, and keeps the record that stands in the identity."""

    def __init__(
        self,
        replica: str,
        residents: ChainResidents,
        mender: Mender,
        metrics: Metrics,
        judge: Callable[[LoadFailure | None], None],
    ) -> None:
        """``replica`` names this process in logs; ``judge`` is told whether it may get traffic."""
        self._replica, self._residents, self._mender, self._metrics = replica, residents, mender, metrics
        self._judge = judge
        self.record: dict[str, Any] = {
            "checkedAt": None, "checks": 0, "found": 0, "repaired": 0, "bytes": 0, "last": None,
        }  # fmt: skip

    def check(self, pace: Pace) -> None:
        """Check once; ``pace`` is called between slices."""
        self._mender.prepare()
        began, state = time.perf_counter(), self._residents.current
        damage = inspect(state.weights, state.position.root, pace)
        if damage is not None:
            with self._residents.writing:
                self._found(state, damage)
        else:
            self._judge(None)
        self._metrics.checks.inc()
        self._metrics.check_seconds.observe(time.perf_counter() - began)
        self.record |= {"checks": self.record["checks"] + 1, "checkedAt": time.time()}

    def mend(self, state: ChainSnapshot) -> ChainSnapshot | None:
        """Check ``state`` at once, and return it repaired; None if it is undamaged, or cannot be repaired.

        The caller holds ``residents.writing``.
        """
        damage = inspect(state.weights, state.position.root)
        return self._mended(state, damage) if damage is not None else None

    def _found(self, state: ChainSnapshot, damage: Damage) -> None:
        current = self._residents.current
        if current is state:
            self._mended(state, damage)
        elif (still := inspect(current.weights, current.position.root)) is not None:
            self._mended(current, still)
        else:
            # Newer rows took the place of the damaged ones while they were looked at.
            self._metrics.damages.labels(damage.cause).inc()
            self._tell(Repaired(state, sum(map(len, damage.leaves.values())), 0), damage, time.perf_counter())

    def _mended(self, state: ChainSnapshot, damage: Damage) -> ChainSnapshot | None:
        began = time.perf_counter()
        self._metrics.damages.labels(damage.cause).inc()
        try:
            repaired = self._mender.mend(state, damage)
        except CannotRepair as error:
            self.record |= {"found": self.record["found"] + 1}
            failure = LoadFailure("Corrupted", f"memory at {state.sequence} is damaged ({damage.cause}): {error}")
            log.error("damaged memory cannot be repaired", extra=self._line(state, damage, 0, 0, began))
            self._judge(failure)
            return None
        self._tell(repaired, damage, began)
        self._judge(None)
        return repaired.snapshot

    def _tell(self, repaired: Repaired, damage: Damage, began: float) -> None:
        line = self._line(repaired.snapshot, damage, repaired.blocks, repaired.bytes, began)
        log.warning("damaged memory was repaired", extra=line)
        self._metrics.repairs.inc()
        self._metrics.repair_bytes.inc(repaired.bytes)
        self.record |= {
            "found": self.record["found"] + 1,
            "repaired": self.record["repaired"] + 1,
            "bytes": self.record["bytes"] + repaired.bytes,
            "last": line,
        }

    def _line(self, state: ChainSnapshot, damage: Damage, blocks: int, size: int, began: float) -> dict[str, Any]:
        return {
            "replica": self._replica,
            "seq": str(state.sequence),
            "table": ",".join((*damage.leaves, *damage.tensors, *damage.indexes)),
            "blocks": blocks,
            "cause": damage.cause,
            "bytes": size,
            "ms": round((time.perf_counter() - began) * 1000, 3),
        }
