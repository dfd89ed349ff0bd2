"""One live look at everything that a decision may rest on.

An error of any read of the cluster ends the pass: nothing is scaled or switched on partial sight. Silence
of pods, of the registry and of the event log is part of the observation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import aiohttp

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus
from viridian_operator.decide.observation import DriftView, JobState, LogHeads, Observation, Registry
from viridian_operator.decide.window import shares
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.resources import Key
from viridian_operator.observe.checks.bake import find
from viridian_operator.observe.checks.runner import CheckRunner, Findings
from viridian_operator.observe.children import read_children
from viridian_operator.observe.needs import Needs, needs_of
from viridian_operator.observe.picture import picture
from viridian_operator.observe.prober import AT_ONCE, Prober
from viridian_operator.observe.proofs import prove
from viridian_operator.observe.registered import OpenRegistry, ask_registry
from viridian_operator.observe.sight import Sight
from viridian_operator.sources.drift import DriftFindings
from viridian_operator.sources.errors import SourceError
from viridian_operator.sources.poller import Reading
from viridian_operator.sources.redis_stream import Heads

#: Positions before the newest so many entries of each partition.
CountBack = Callable[[Heads, Mapping[str, int]], Awaitable[Mapping[str, str]]]

#: Tells the ends of the ModelUpdate's event log, freshly read or recently; None without one.
ReadHeads = Callable[[], Awaitable[Reading | None]]

#: What the drift monitor of the ModelUpdate found; None without an event log.
ReadDrift = Callable[[], Awaitable[DriftFindings | None]]

_TRAIN = "train"


class Observer:
    """Looks at one ModelUpdate at a time; safe to use from many passes at once.

    Parameters
    ----------
    session
        From ``probe_session``: for questions to pods, Services and Prometheus.
    wake
        Called with the key of a ModelUpdate when the result of a health check has come in.
    at_once
        How many questions may be open at the same time, over all passes.
    """

    def __init__(
        self,
        cluster: Cluster,
        session: aiohttp.ClientSession,
        *,
        wake: Callable[[Key], None] = lambda _key: None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._cluster = cluster
        self._prober = Prober(session, at_once=at_once)
        self._runner = CheckRunner(session, wake=wake)

    def forget(self, key: Key) -> None:
        """The ModelUpdate is gone, or cannot be followed: nothing is asked about it any more."""
        self._runner.drop(key)

    async def aclose(self) -> None:
        """Cancel what is being asked."""
        await self._runner.aclose()

    async def observe(
        self,
        body: Mapping[str, Any],
        spec: ModelUpdateSpec,
        status: ModelUpdateStatus,
        now: datetime,
        *,
        heads: ReadHeads,
        registry: OpenRegistry,
        count_back: CountBack | None = None,
        drift: ReadDrift | None = None,
        resync: bool = False,
    ) -> Sight:
        """Read what the present phase needs.

        Parameters
        ----------
        body
            The ModelUpdate as the API server holds it.
        resync
            Also look for drift that no event tells of.

        Raises
        ------
        ApiError
            If the cluster could not be read completely.
        """
        needs = needs_of(spec, status, resync=resync)
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        raw, (ends, problem), loss = await asyncio.gather(
            read_children(self._cluster, key, spec, status, needs),
            read_heads(heads, needs, count_back),
            read_drift(drift, needs),
        )
        seen = picture(body, raw, spec, status, needs)
        if not needs.checks:
            self._runner.drop(key)
        proven, registered = await asyncio.gather(
            prove(seen, raw, spec, status, needs, self._prober),
            _registered(registry, spec, status, needs, seen),
        )
        found = find(proven, raw, spec, status, now, self._runner) if needs.checks else Findings()
        checked = replace(proven, checks=found.results or None, checking=found.running)
        return Sight(replace(checked, heads=ends, heads_error=problem, drift=loss, registry=registered), raw)


async def read_heads(
    heads: ReadHeads, needs: Needs, count_back: CountBack | None = None
) -> tuple[LogHeads | None, str]:
    """The ends of the log, or why they cannot be told; ends from before an error are not told."""
    if not needs.heads:
        return None, ""
    try:
        reading = await heads()
    except SourceError as error:
        return None, error.message
    if reading is None:
        return None, ""
    if reading.error or reading.heads is None:
        return None, reading.error or "the event log was not read yet"
    ends = reading.heads
    found = LogHeads(dict(ends.offsets), ends.total, dict(ends.earliest), dict(ends.removed))
    counts = shares(found, needs.newest)
    if not counts or count_back is None:
        return found, ""
    try:
        return replace(found, newest=dict(await count_back(ends, counts))), ""
    except SourceError as error:
        return None, error.message


async def read_drift(drift: ReadDrift | None, needs: Needs) -> DriftView:
    """What the drift monitor says, or why that cannot be read."""
    if drift is None or not needs.drift:
        return DriftView()
    try:
        found = await drift()
    except SourceError as error:
        return DriftView(error=error.message)
    return DriftView(found.detection, found.error) if found else DriftView()


async def _registered(
    registry: OpenRegistry, spec: ModelUpdateSpec, status: ModelUpdateStatus, needs: Needs, seen: Observation
) -> Registry:
    update, tag, number = status.update, "", needs.version
    if needs.candidate and update is not None:
        job = seen.job_of(_TRAIN, update.number, update.attempts.number)
        tag = f"{seen.uid}/{update.number}" if job and job.state is JobState.COMPLETE else ""
    if needs.unless_deployed and seen.deployment_of(needs.unless_deployed) is not None:
        number = ""
    if needs.unless_kept and any(each.serves and needs.unless_kept in each.serves.golden for each in seen.deployments):
        number = ""
    uid = seen.uid if status.recovering else ""
    return await ask_registry(
        registry,
        spec.model.name,
        update=tag,
        number=number,
        aliases=needs.aliases,
        uid=uid,
        follow=needs.follow,
        listed=needs.listed,
        versions=needs.versions,
    )
