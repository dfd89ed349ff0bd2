"""``GET /viridian/v1/online``, ``/metrics`` and ``/healthz``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from viridian_trainer.listener import Answer, Listener, metrics_or_health
from viridian_trainer.online.prequential import Prequential
from viridian_trainer.online.status import Status

#: A trainer that says nothing for so many seconds hangs.
SILENCE = 300.0
ONLINE = "/viridian/v1/online"
STATES = ("Starting", "Publishing", "Stopped", "Shadow")


class StatusServer:
    """Answers in threads of its own, which end with the process."""

    def __init__(self, status: Status, prequential: Prequential, port: int, host: str = "") -> None:
        """Listen at once.

        Raises
        ------
        BadConfig
            If the port is taken.
        """
        registry = CollectorRegistry()
        registry.register(_Metrics(status, prequential))
        self._listener = Listener(_Answers(status, prequential, registry).to, port, host)
        self.port = self._listener.port

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


def online_status(status: Status, prequential: Prequential) -> dict[str, Any]:
    """The answer of ``GET /viridian/v1/online``."""
    return {**status.read(), "prequential": prequential.summary()}


class _Answers:
    def __init__(self, status: Status, prequential: Prequential, registry: CollectorRegistry) -> None:
        self._status, self._prequential, self._registry = status, prequential, registry

    def to(self, path: str) -> Answer:
        """Code, type and body."""
        if path.partition("?")[0] == ONLINE:
            body = json.dumps(online_status(self._status, self._prequential)).encode()
            return HTTPStatus.OK, "application/json", body
        trouble = "" if self._status.age < SILENCE else "the trainer hangs"
        return metrics_or_health(path, self._registry, trouble, also=f"{ONLINE}, ")


class _Metrics(Collector):
    """The status as gauges."""

    def __init__(self, status: Status, prequential: Prequential) -> None:
        self._status, self._prequential = status, prequential

    def collect(self) -> Iterator[Metric]:
        told = online_status(self._status, self._prequential)
        state = GaugeMetricFamily("viridian_online_state", "1 for the present state", labels=["state"])
        for name in STATES:
            state.add_metric([name], float(told["state"] == name))
        yield state
        for name, text, value in _values(told):
            yield GaugeMetricFamily(f"viridian_online_{name}", text, value=value)
        quality = GaugeMetricFamily(
            "viridian_online_prequential", "Metrics over the window, before training", labels=["model", "metric"]
        )
        for model in ("online", "champion"):
            for metric, value in told["prequential"][model].items():
                quality.add_metric([model, metric], value)
        yield quality


def _values(told: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    if "lag" not in told:  # nothing but the start so far
        return
    yield "lag_events", "Entries of the log that were not trained on", told["lag"]["events"]
    yield "lag_seconds", "Age of the newest event that was trained on, while there is a lag", told["lag"]["seconds"]
    yield "published_deltas", "Deltas published by this process", told["published"]["deltas"]
    yield "published_bytes", "Bytes of their payloads", told["published"]["bytes"]
    yield "event_time_seconds", "Time of the newest event that was trained on", told["eventTime"]
    yield "test_p_value", "Anytime-valid p-value of being worse than the champion", told["test"]["bound"]
    yield "test_events", "Events of the sequential test", told["test"]["events"]
    yield "reverts", "How often readers went back to a champion", told["reverts"]
