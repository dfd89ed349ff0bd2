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
        self.swap_seconds = Histogram(
            "viridian_swap_seconds", "Time of the swap of what answers.", buckets=_BUCKETS, registry=registry
        )

    def serve(self, snapshot: Snapshot) -> None:
        """Name what answers from now on."""
        self.model.clear()
        self.model.labels(snapshot.name, snapshot.version, snapshot.digest).set(1)
        if snapshot.event_time is not None:
            self.event_time.set(snapshot.event_time)
