"""Prometheus metrics in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from viridian_server.snapshot import Snapshot

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Everything under ``/metrics``."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("viridian_requests", "Inference requests by HTTP status.", ["code"], registry=registry)
        self.seconds = Histogram(
            "viridian_request_seconds",
            "Time from the headers of an inference request to its answer.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "viridian_requests_in_flight", "Inference requests that are being answered.", registry=registry
        )
        self.model = Gauge(
            "viridian_model_info", "1 for what answers.", ["model", "version", "digest"], registry=registry
        )
        self.event_time = Gauge(
            "viridian_model_event_time_seconds", "Event time that the model was trained to.", registry=registry
        )
        self.ready = Gauge("viridian_ready", "1 if new traffic is welcome.", registry=registry)
        self.retired = Gauge("viridian_retired", "1 if clients are asked to go elsewhere.", registry=registry)
        self.load_seconds = Gauge(
            "viridian_load_phase_seconds", "Seconds spent in each phase of the load.", ["phase"], registry=registry
        )
        self._add_swaps(registry)
        self._add_consistency(registry)
        self._named: tuple[str, str, str] | None = None

    def _add_swaps(self, registry: CollectorRegistry) -> None:
        self.swap_seconds = Histogram(
            "viridian_swap_seconds",
            "Time of a swap: of a flip, or from a new head to its answering.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.sequence = Gauge(
            "viridian_model_sequence", "Epoch and n of the sequence that answers.", ["part"], registry=registry
        )
        self.lag_seconds = Gauge(
            "viridian_lag_seconds", "Time since this replica is known to be behind the head.", registry=registry
        )
        self.deltas = Counter("viridian_deltas_applied", "Deltas that were applied.", registry=registry)
        self.delta_bytes = Counter("viridian_delta_bytes", "Payload of deltas that was fetched.", registry=registry)
        self.refused = Counter(
            "viridian_deltas_refused", "Deltas and heads that were refused.", ["reason"], registry=registry
        )
        self.reverts = Counter("viridian_reverts", "Changes to an older state.", registry=registry)

    def _add_consistency(self, registry: CollectorRegistry) -> None:
        self.checks = Counter("viridian_consistency_checks", "Checks of what is in memory.", registry=registry)
        self.check_seconds = Histogram(
            "viridian_consistency_check_seconds", "Time of a check.", buckets=_BUCKETS, registry=registry
        )
        self.damages = Counter(
            "viridian_consistency_damages", "Checks that found damaged memory.", ["cause"], registry=registry
        )
        self.repairs = Counter("viridian_consistency_repairs", "Damages that were repaired.", registry=registry)
        self.repair_bytes = Counter(
            "viridian_consistency_repair_bytes", "Bytes that repairs fetched from the store.", registry=registry
        )

    def serve(self, snapshot: Snapshot) -> None:
        """Name what answers from now on."""
        named = (snapshot.name, snapshot.version, snapshot.digest)
        if named != self._named:
            self.model.clear()
            self.model.labels(*named).set(1)
            self._named = named
        if snapshot.event_time is not None:
            self.event_time.set(snapshot.event_time)
        if snapshot.sequence is not None:
            self.sequence.labels("epoch").set(snapshot.sequence.epoch)
            self.sequence.labels("n").set(snapshot.sequence.n)
