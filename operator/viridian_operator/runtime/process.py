"""The parts of the process and how they are put together."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubernetes.aio import client

from viridian_operator.kube.cluster import ApiCluster, Cluster
from viridian_operator.kube.elector import Elector
from viridian_operator.kube.events import EventRecorder
from viridian_operator.kube.lease import Lease, LeaseTerms
from viridian_operator.kube.resources import Key
from viridian_operator.kube.workqueue import WorkQueue
from viridian_operator.runtime.metrics import Metrics
from viridian_operator.runtime.probes import Check, Heartbeat, ProbeServer
from viridian_operator.runtime.settings import Settings
from viridian_operator.runtime.shell import Shell
from viridian_operator.runtime.webhook import WebhookServer
from viridian_operator.runtime.worker import Workers
from viridian_operator.sources.poller import HeadsPoller

#: Seconds by which the event loop may be late before the process counts as not alive.
LAG_LIMIT = 5.0

log = logging.getLogger(__name__)


class BuildReconciler(Protocol):
    """Makes the function that runs one pass; ``wake`` asks for another one soon.

    If what it returns has an async method ``aclose``, that is called at the exit; if it has a method ``hint``,
    that is called with the name of a registered model that a webhook told of.
    """

    def __call__(
        self,
        *,
        cluster: Cluster,
        recorder: EventRecorder,
        metrics: Metrics,
        poller: HeadsPoller[Key],
        settings: Settings,
        wake: Callable[[Key], None],
    ) -> Callable[[Key], Awaitable[float | None]]:
        """Build it; an event loop is running."""
        ...


@dataclass(frozen=True)
class Process:
    """All parts, not started."""

    settings: Settings
    metrics: Metrics
    cluster: ApiCluster
    workers: Workers
    recorder: EventRecorder
    poller: HeadsPoller[Key]
    shell: Shell
    heartbeat: Heartbeat
    elector: Elector | None
    probes: ProbeServer
    webhooks: WebhookServer | None


def assemble(
    settings: Settings, access: client.Configuration, build: BuildReconciler, *, take_signals: Callable[[], None]
) -> Process:
    """Make all parts; an event loop must be running."""
    metrics = Metrics()
    bare = ApiCluster.connect(access, timeout=settings.api_timeout, observe=metrics.api_request)
    elector = _elector(settings, bare) if settings.leader_election else None
    cluster = bare.fenced(elector.fence) if elector else bare
    queue: WorkQueue[Key] = WorkQueue(observer=metrics.queue, cap=settings.backoff_cap)
    metrics.queue.follow(queue)
    recorder = EventRecorder(cluster, instance=settings.identity)
    poller = HeadsPoller(queue.add, interval=settings.source_interval)
    reconcile = build(
        cluster=cluster, recorder=recorder, metrics=metrics, poller=poller, settings=settings, wake=queue.add
    )
    workers = Workers(
        queue=queue,
        reconcile=reconcile,
        metrics=metrics,
        count=settings.workers,
        timeout=settings.reconcile_timeout,
        resync=settings.resync,
        gate=asyncio.Event(),
    )
    shell = Shell(access, namespaces=settings.namespaces, enqueue=queue.add, take_signals=take_signals)
    heartbeat = Heartbeat(report=metrics.loop_lag)
    probes = ProbeServer(
        host=settings.probe_host,
        port=settings.probe_port,
        registry=metrics.registry,
        live=_liveness(settings, heartbeat, queue),
        ready=_readiness(shell, elector),
    )
    webhooks = _webhooks(settings, metrics, workers.gate, getattr(reconcile, "hint", None))
    return Process(settings, metrics, cluster, workers, recorder, poller, shell, heartbeat, elector, probes, webhooks)


def _webhooks(
    settings: Settings, metrics: Metrics, gate: asyncio.Event, hint: Callable[[str], None] | None
) -> WebhookServer | None:
    if not settings.webhook_secret_file or hint is None:
        return None
    return WebhookServer(
        host=settings.probe_host,
        port=settings.webhook_port,
        secret=Path(settings.webhook_secret_file),
        leading=gate.is_set,
        hint=hint,
        count=metrics.webhook,
    )


def _elector(settings: Settings, cluster: ApiCluster) -> Elector:
    terms = LeaseTerms(
        namespace=settings.lease_namespace,
        name=settings.lease_name,
        identity=settings.identity,
        duration=settings.lease_duration,
        renew=settings.lease_renew,
        deadline=settings.lease_deadline,
        poll=settings.lease_poll,
    )
    # One lost request must leave time for another before the deadline.
    quick = cluster.within(timeout=(terms.deadline - terms.renew) / 2)
    return Elector(Lease(quick, terms), terms, lost=_exit)


def _exit(reason: str) -> None:
    """End the process without any clean-up: another one may lead already."""
    log.critical("not leading any more: %s", reason)
    sys.stderr.flush()
    os._exit(1)


def _liveness(settings: Settings, heartbeat: Heartbeat, queue: WorkQueue[Key]) -> dict[str, Check]:
    limit = 2 * settings.reconcile_timeout

    def loop() -> str:
        return f"the event loop is {heartbeat.lag:.1f} s late" if heartbeat.lag > LAG_LIMIT else ""

    def workers() -> str:
        longest = max(queue.working(), default=0.0)
        return f"a pass has run for {longest:.0f} s" if longest > limit else ""

    return {"event-loop": loop, "workers": workers}


def _readiness(shell: Shell, elector: Elector | None) -> dict[str, Check]:
    """A standby is ready, too: a rolling update waits for it."""

    def watches() -> str:
        return "" if shell.started.is_set() else "the watches have not started"

    def lease() -> str:
        return "" if elector is None or elector.informed else "the Lease could not be read yet"

    return {"watches": watches, "lease": lease}
