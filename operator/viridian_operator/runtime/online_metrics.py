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
            "viridian_model_online_deltas_per_second", "Deltas published, on average", _LABELS, registry=registry
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
            self._reverts.labels(*key).set(online.reverts)
            self._epochs.labels(*key).set(len({each.sequence.partition(".")[0] for each in online.replicas}))
        elif key in self._known:
            self._known.discard(key)
            for gauge in (self._publishing, self._rate, self._reverts, self._epochs):
                gauge.remove(*key)
