"""The process that joins for ever: rounds over all partitions, metrics, and patience while Redis is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import NoReturn

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from viridian_trainer.errors import LogUnreachable
from viridian_trainer.eventlog.redis_join import RedisLabelJoin
from viridian_trainer.listener import Answer, Listener, metrics_or_health
from viridian_trainer.stop import StopRequest

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
LONGEST_PAUSE = 30.0
LINE_SECONDS = 60.0
#: A joiner without a finished round for so many seconds is not healthy.
SILENCE = 120.0
#: How rows ended, for ever; all other counts are of what waits.
OUTCOMES = ("joined", "expired", "late", "duplicates", "rejected")


class Joiner:
    """Rounds over the partitions of one joiner, and what they came to."""

    def __init__(self, work: RedisLabelJoin, partitions: int) -> None:
        self._work = work
        self._counts: dict[str, dict[str, int]] = {str(number): {} for number in range(partitions)}
        self._finished = time.monotonic()

    def round(self) -> None:
        """One round of each partition; raises what `RedisLabelJoin.round` does."""
        for partition in self._counts:
            self._counts[partition] = self._work.round(partition)
        self._finished = time.monotonic()

    @property
    def partitions(self) -> dict[str, dict[str, int]]:
        """Counts by partition."""
        return dict(self._counts)

    @property
    def totals(self) -> dict[str, int]:
        """Counts of all partitions together."""
        names = {name: None for counts in self._counts.values() for name in counts}
        return {name: sum(counts.get(name, 0) for counts in self._counts.values()) for name in names}

    @property
    def silent(self) -> float:
        """Seconds since the last round ended."""
        return time.monotonic() - self._finished


def follow(joiner: Joiner, port: int | None, stop: StopRequest) -> NoReturn:
    """Join for ever; metrics and health on ``port``. Redis may be away for a while.

    Raises
    ------
    Stopped
        When it was requested.
    TaskError
        If there is no going on.
    """
    listener = Listener(Answers(joiner).to, port) if port is not None else None
    pause, said = PAUSE_SECONDS, float("-inf")
    try:
        while True:
            try:
                joiner.round()
                pause = PAUSE_SECONDS
            except LogUnreachable as error:
                pause = min(pause * 2, LONGEST_PAUSE)
                _log.warning("%s; the next try comes in %.0f s", error.message, pause)
            if time.monotonic() - said >= LINE_SECONDS:
                said = time.monotonic()
                _log.info("joined so far", extra={"counts": joiner.totals})
            stop.pause(pause)
    finally:
        if listener is not None:
            listener.close()


class Answers:
    """``/metrics`` and ``/healthz``."""

    def __init__(self, joiner: Joiner) -> None:
        self._joiner, self._registry = joiner, CollectorRegistry()
        self._registry.register(_Metrics(joiner))

    def to(self, path: str) -> Answer:
        """Code, type and body."""
        trouble = "" if self._joiner.silent < SILENCE else "no round has ended for two minutes"
        return metrics_or_health(path, self._registry, trouble)


class _Metrics(Collector):
    def __init__(self, joiner: Joiner) -> None:
        self._joiner = joiner

    def collect(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(
            "viridian_join_rows", "Impressions and labels by how they ended", labels=["partition", "outcome"]
        )
        waiting = GaugeMetricFamily(
            "viridian_join_waiting",
            "Impressions without a label, labels without an impression",
            labels=["partition", "kind"],
        )
        for partition, counts in self._joiner.partitions.items():
            for name in OUTCOMES:
                rows.add_metric([partition, name], counts.get(name, 0))
            for name in ("pending", "early"):
                waiting.add_metric([partition, name], counts.get(name, 0))
        yield rows
        yield waiting
