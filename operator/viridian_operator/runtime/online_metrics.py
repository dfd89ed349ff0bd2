"""Figures of online trainers, as far as the operator has them; the trainers themselves tell more, and sooner."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from viridian_operator.api.online_status import OnlineStatus
from viridian_operator.kube.resources import Key

_LABELS = ["namespace", "name"]


class OnlineMetrics:
    """One series per ModelUpdate that is trained online."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._publishing = Gauge(
            "viridian_model_online_publishing",
            "1 while replicas get what is trained online, else 0",
            _LABELS,
            registry=registry,
        )
        self._rate = Gauge(
            "viridian_model_online_deltas_per_second",
            "Deltas published, on average over the last minute",
            _LABELS,
            registry=registry,
        )
        self._lag_events = Gauge(
            "viridian_model_online_lag_events",
            "Entries of the event log that the trainer has not trained on",
            _LABELS,
            registry=registry,
        )
        self._lag_seconds = Gauge(
            "viridian_model_online_lag_seconds",
            "Age of the newest event that the trainer trained on, while there is a lag, else 0",
            _LABELS,
            registry=registry,
        )
        self._repairs = Gauge(
            "viridian_model_online_repairs",
            "Damages of memory that the ready replicas of now found and repaired since they started",
            _LABELS,
            registry=registry,
        )
        self._reverts = Gauge(
            "viridian_model_online_reverts",
            "How often replicas went back to a champion, as the present trainer counts",
            _LABELS,
            registry=registry,
        )
        self._epochs = Gauge(
            "viridian_model_online_epochs",
            "Epochs of the chain that ready replicas are in; more than one for long is a replica that cannot follow",
            _LABELS,
            registry=registry,
        )
        self._known: set[Key] = set()

    def told(self, key: Key, online: OnlineStatus | None) -> None:
        """What status says of ``key``; None: it is not trained online."""
        if online is not None:
            self._known.add(key)
            self._publishing.labels(*key).set(online.state == "Publishing")
            self._rate.labels(*key).set(online.deltas_per_second)
            self._lag_events.labels(*key).set(online.lag_events)
            self._lag_seconds.labels(*key).set(online.lag_seconds)
            self._repairs.labels(*key).set(sum(each.repaired for each in online.replicas))
            self._reverts.labels(*key).set(online.reverts)
            self._epochs.labels(*key).set(len({each.sequence.partition(".")[0] for each in online.replicas}))
        elif key in self._known:
            self._known.discard(key)
            for gauge in self._gauges:
                gauge.remove(*key)

    @property
    def _gauges(self) -> tuple[Gauge, ...]:
        lag = (self._lag_events, self._lag_seconds)
        return (self._publishing, self._rate, *lag, self._repairs, self._reverts, self._epochs)
