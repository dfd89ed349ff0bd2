"""Prometheus metrics in a registry of their own; no label is unbounded."""

from __future__ import annotations

import platform
from collections.abc import Callable, Hashable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from viridian_operator import __version__
from viridian_operator.api.status import Phase
from viridian_operator.kube.resources import Key
from viridian_operator.kube.workqueue import WorkQueue
from viridian_operator.runtime.online_metrics import OnlineMetrics

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
#: Counts of a training's result that are shown; others of an image's own are not.
EVENT_COUNTS = frozenset({"trained", "holdout", "predicted", "duplicates", "late", "rejected"})
LONG_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400)


class QueueMetrics:
    """What the work queue reports; implements its ``QueueObserver``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._added = Counter("viridian_workqueue_adds", "Keys queued", registry=registry)
        self._retries = Counter("viridian_workqueue_retries", "Keys put off after a failure", registry=registry)
        self._waited = Histogram(
            "viridian_workqueue_queue_duration_seconds",
            "Time a key was ready before a worker took it",
            buckets=SECONDS,
            registry=registry,
        )
        self._worked = Histogram(
            "viridian_workqueue_work_duration_seconds", "Time a worker held a key", buckets=SECONDS, registry=registry
        )
        self._registry = registry

    def added(self) -> None:
        """See ``QueueObserver``."""
        self._added.inc()

    def retried(self) -> None:
        """See ``QueueObserver``."""
        self._retries.inc()

    def taken(self, waited: float, /) -> None:
        """See ``QueueObserver``."""
        self._waited.observe(waited)

    def finished(self, worked: float, /) -> None:
        """See ``QueueObserver``."""
        self._worked.observe(worked)

    def follow[K: Hashable](self, queue: WorkQueue[K]) -> None:
        """Show the present state of ``queue``, read when metrics are."""
        self._show("depth", "Keys ready for a worker", lambda: len(queue))
        self._show("unfinished_work_seconds", "Seconds of work under way, summed", lambda: sum(queue.working()))
        self._show(
            "longest_running_processor_seconds", "Age of the oldest pass", lambda: max(queue.working(), default=0)
        )
        active = Gauge("viridian_reconcile_active_workers", "Passes under way", registry=self._registry)
        active.set_function(lambda: len(queue.working()))

    def _show(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(f"viridian_workqueue_{name}", text, registry=self._registry).set_function(read)


class Metrics:
    """Everything that the operator counts."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self.queue = QueueMetrics(registry)
        self.online = OnlineMetrics(registry)
        self._reconciles = Counter(
            "viridian_reconcile",
            "Passes by result: success, requeue_after, error, timeout",
            ["result"],
            registry=registry,
        )
        self._errors = Counter("viridian_reconcile_errors", "Failed passes by kind", ["kind"], registry=registry)
        self._reconcile_seconds = Histogram(
            "viridian_reconcile_duration_seconds", "Time of a pass", buckets=SECONDS, registry=registry
        )
        self._requests = Counter(
            "viridian_api_requests",
            "Requests to the API server, each try counted",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "viridian_api_request_duration_seconds",
            "Time of a request to the API server",
            ["verb"],
            buckets=SECONDS,
            registry=registry,
        )
        self._leader = Gauge("viridian_leader", "1 while this replica leads", registry=registry)
        self._loop_lag = Gauge(
            "viridian_event_loop_lag_seconds", "Worst recent lag of the event loop", registry=registry
        )
        self._updates = Counter("viridian_updates", "Finished updates by result", ["result"], registry=registry)
        self._phase_seconds = Histogram(
            "viridian_phase_duration_seconds",
            "Time that updates spent in a phase",
            ["phase"],
            buckets=LONG_SECONDS,
            registry=registry,
        )
        self._census = Gauge("viridian_modelupdates", "ModelUpdates by phase", ["phase"], registry=registry)
        self._event_time = Gauge(
            "viridian_model_event_time_seconds",
            "Time of the newest event that the serving model was trained on; one series per ModelUpdate",
            ["namespace", "name"],
            registry=registry,
        )
        self._stale = Gauge(
            "viridian_model_stale",
            "1 while what serves is older than spec.freshness.maxAge, else 0; no series where that is not set or told",
            ["namespace", "name"],
            registry=registry,
        )
        self._invariants = Gauge(
            "viridian_invariant_violated",
            "1 while an invariant of the blue-green protocol does not hold; no series while all do",
            ["namespace", "name", "invariant"],
            registry=registry,
        )
        self._trained = Counter(
            "viridian_training_events",
            "Events of finished trainings: trained, holdout, predicted, duplicates, late, rejected",
            ["namespace", "name", "count"],
            registry=registry,
        )
        self._webhooks = Counter(
            "viridian_webhook_requests",
            "Webhooks by what became of them: accepted, repeated, ignored, standby, refused, malformed, unverified",
            ["result"],
            registry=registry,
        )
        for result in ("accepted", "refused"):
            self._webhooks.labels(result=result)
        build = Gauge("viridian_build_info", "Always 1", ["version", "python"], registry=registry)
        build.labels(version=__version__, python=platform.python_version()).set(1)
        self._phases: dict[Key, Phase] = {}
        self._served: set[Key] = set()
        self._limited: set[Key] = set()
        self._violated: dict[Key, frozenset[str]] = {}
        self._counted: dict[Key, set[str]] = {}
        for phase in Phase:
            self._census.labels(phase=phase.value).set(0)

    def api_request(self, verb: str, resource: str, code: str, seconds: float) -> None:
        """A try of a request ended; see ``kube.transport.RequestObserver``."""
        self._requests.labels(verb=verb, resource=resource, code=code).inc()
        self._request_seconds.labels(verb=verb).observe(seconds)

    def reconciled(self, result: str, seconds: float) -> None:
        """A pass ended."""
        self._reconciles.labels(result=result).inc()
        self._reconcile_seconds.observe(seconds)

    def reconcile_failed(self, error: BaseException) -> None:
        """A pass raised; the label is the name of the exception's class."""
        self._errors.labels(kind=type(error).__name__).inc()

    def leading(self, *, now: bool) -> None:
        """This replica leads, or does not."""
        self._leader.set(now)

    def loop_lag(self, seconds: float) -> None:
        """The worst recent lag of the event loop."""
        self._loop_lag.set(seconds)

    def phase(self, key: Key, phase: Phase) -> None:
        """``key`` is in ``phase`` now."""
        before = self._phases.get(key)
        if before is not phase:
            self._uncount(before)
            self._phases[key] = phase
            self._census.labels(phase=phase.value).inc()

    def model_event_time(self, key: Key, event_time: float | None) -> None:
        """What serves for ``key`` was trained on events up to ``event_time``."""
        if event_time is not None:
            self._served.add(key)
            self._event_time.labels(*key).set(event_time)

    def model_stale(self, key: Key, stale: bool | None) -> None:
        """Whether what serves for ``key`` is older than it may be; None if no limit is set, or its age is not known."""
        if stale is not None:
            self._limited.add(key)
            self._stale.labels(*key).set(stale)
        elif key in self._limited:
            self._limited.discard(key)
            self._stale.remove(*key)

    def invariants_violated(self, key: Key, names: Iterable[str]) -> None:
        """The invariants that do not hold for ``key`` now; those of before that hold again lose their series."""
        now = frozenset(names)
        for name in self._violated.pop(key, frozenset()) - now:
            self._invariants.remove(*key, name)
        for name in now:
            self._invariants.labels(*key, name).set(1)
        if now:
            self._violated[key] = now

    def forget(self, key: Key) -> None:
        """``key`` no longer exists."""
        self.invariants_violated(key, ())
        self.model_stale(key, None)
        self.online.told(key, None)
        self._uncount(self._phases.pop(key, None))
        if key in self._served:
            self._served.discard(key)
            self._event_time.remove(*key)
        for name in self._counted.pop(key, ()):
            self._trained.remove(*key, name)

    def events_trained(self, key: Key, events: Mapping[str, int]) -> None:
        """A training of ``key`` ended, or failed for its data, with these counts."""
        known = self._counted.setdefault(key, set())
        for name in EVENT_COUNTS & events.keys():
            known.add(name)
            self._trained.labels(*key, name).inc(events[name])

    def webhook(self, result: str) -> None:
        """A request to the endpoint of webhooks was answered."""
        self._webhooks.labels(result=result).inc()

    def update_finished(self, result: Phase) -> None:
        """An update ended."""
        self._updates.labels(result=result.value).inc()

    def phase_finished(self, phase: Phase, seconds: float) -> None:
        """An update left ``phase``."""
        self._phase_seconds.labels(phase=phase.value).observe(seconds)

    def _uncount(self, phase: Phase | None) -> None:
        if phase is not None:
            self._census.labels(phase=phase.value).dec()
