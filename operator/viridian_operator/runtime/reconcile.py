"""One pass over one ModelUpdate: observe, decide, write the status, act.

Everything a pass decides is in status before anything is done about it, and what is done is derived
from status anew in every pass; a crash anywhere is therefore a pass that ended early.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
from pydantic import ValidationError

from viridian_operator.act.errors import NameTaken
from viridian_operator.act.executor import Executor
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api.check import problems
from viridian_operator.api.conditions import Reason, Type
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import TERMINAL, TRAINS, ModelUpdateStatus, Update, read_status
from viridian_operator.decide.decision import Decision, Severity
from viridian_operator.decide.requests import unanswered
from viridian_operator.decide.step import decide, refuse
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import NotFound
from viridian_operator.kube.events import EventRecorder
from viridian_operator.kube.resources import MODEL_UPDATE, POD, Key, ObjectRef
from viridian_operator.observe.connections import open_registry, stream_source
from viridian_operator.observe.observer import Observer
from viridian_operator.observe.online import trainer_address
from viridian_operator.observe.online_watch import OnlineWatch
from viridian_operator.observe.prober import probe_session
from viridian_operator.observe.proofs import addresses_of
from viridian_operator.observe.sight import Sight, of_kind
from viridian_operator.registry.errors import RegistryError
from viridian_operator.registry.mlflow import MlflowRegistry
from viridian_operator.registry.poller import AliasPoller
from viridian_operator.runtime.logging import bind
from viridian_operator.runtime.metrics import Metrics
from viridian_operator.runtime.settings import Settings
from viridian_operator.runtime.slots import TrainingSlots
from viridian_operator.runtime.worker import Gone
from viridian_operator.sources.drift import DriftFindings
from viridian_operator.sources.errors import SourceError
from viridian_operator.sources.poller import DriftWatch, HeadsPoller, Reading
from viridian_operator.sources.redis_stream import Heads

#: how old heads of an event log may be when a window is fixed because of a schedule, new events or drift; who asks for
#: a window by a request means the events of that moment
FRESH = 1.0
_RETRY_BASE, _RETRY_CAP = 0.5, 30.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """The ModelUpdate of a pass."""

    key: Key
    body: Mapping[str, Any]
    spec: ModelUpdateSpec
    status: ModelUpdateStatus

    @property
    def ref(self) -> ObjectRef:
        """Reference for status and events."""
        return ObjectRef(MODEL_UPDATE, self.key.namespace, self.key.name, self.body["metadata"]["uid"])

    @property
    def asked(self) -> bool:
        """Whether a person or tool asked for something that is not begun yet."""
        asks = unanswered(self.body["metadata"].get("annotations") or {}, self.status)
        return bool(asks) or self.status.pending_trigger is not None


@dataclass
class _Memory:
    """What a process remembers of a key; losing it costs nothing but a look too many."""

    resynced: float = -math.inf
    failures: int = 0
    message: str = ""
    #: registered model of which a version is followed by its number; aliases are polled
    follows: str = ""


@dataclass
class Reconciler:
    """Runs passes; safe for many keys at once, never two passes of one key."""

    cluster: Cluster
    recorder: EventRecorder
    metrics: Metrics
    poller: HeadsPoller[Key]
    settings: Settings
    wake: Callable[[Key], None]
    session: aiohttp.ClientSession = field(default_factory=probe_session)
    memory: dict[Key, _Memory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.observer = Observer(self.cluster, self.session, wake=self.wake)
        self.executor = Executor(self.cluster, self.session)
        limit, namespaces = self.settings.max_concurrent_trainings, self.settings.namespaces
        self.slots = TrainingSlots(self.cluster, limit, namespaces, self.wake)
        self.aliases = AliasPoller[Key](self.wake)
        self.online = OnlineWatch[Key](self.wake, self.session)

    async def __call__(self, key: Key) -> float | None:
        """One pass; returns the seconds until the next look.

        Raises
        ------
        Gone
            If the ModelUpdate does not exist any more.
        ApiError
            If the cluster could not be read completely or the status not be written; nothing was done then.
        """
        try:
            body = await self.cluster.get(MODEL_UPDATE, key.namespace, key.name)
        except NotFound:
            self.poller.unwatch(key)
            self.aliases.unwatch(key)
            self.online.unwatch(key)
            self.slots.forget(key)
            self.observer.forget(key)
            self.memory.pop(key, None)
            raise Gone from None
        status = _read_status(body.get("status"))
        bind(uid=body["metadata"]["uid"], generation=body["metadata"].get("generation"), phase=status.phase.value)
        try:
            spec = ModelUpdateSpec.model_validate(body.get("spec") or {})
        except ValidationError as error:
            self.aliases.unwatch(key)
            self.online.unwatch(key)
            self.observer.forget(key)
            await self._refuse(key, body, status, error)
            return None
        return await self._pass(Subject(key, body, spec, status))

    def hint(self, model: str) -> None:
        """Something happened to a registered model: its aliases are looked at, and who waits for a version looks."""
        self.aliases.hint(model)
        for key, memory in self.memory.items():
            if memory.follows == model:
                self.wake(key)

    async def aclose(self) -> None:
        """End the questions to pods and registries and close the connections."""
        await self.aliases.aclose()
        await self.online.aclose()
        await self.observer.aclose()
        await self.session.close()

    async def _pass(self, subject: Subject) -> float | None:
        memory = self.memory.setdefault(subject.key, _Memory())
        memory.follows = subject.spec.model.name if subject.spec.follow and subject.spec.follow.version else ""
        resync = time.monotonic() - memory.resynced > self.settings.resync
        now = datetime.now(UTC)
        sight = await self.observer.observe(
            subject.body,
            subject.spec,
            subject.status,
            now,
            heads=lambda: self._heads(subject),
            registry=lambda: self._registry(subject),
            count_back=lambda heads, counts: self._count_back(subject, heads, counts),
            drift=lambda: self._drift(subject),
            resync=resync,
        )
        if resync:
            memory.resynced = time.monotonic()
        seen = replace(sight.observation, slot=await self.slots.ask(subject.key, subject.status))
        # deadlines are judged by the time after the look: what was seen is at least that fresh
        now = datetime.now(UTC)
        decision = decide(subject.spec, subject.status, seen, now, problems(subject.spec, subject.key.name))
        await self._write(subject, decision)
        self.slots.settle(subject.key, decision.status)
        self._tell(subject, decision, memory)
        failures = await self._act(subject, decision, sight)
        await self._watch_log(subject, decision)
        await self._watch_alias(subject, decision)
        self._watch_online(subject, decision, sight)
        wait = (decision.wake_at - now).total_seconds() if decision.wake_at else None
        return self._after(memory, wait, failures)

    async def _act(self, subject: Subject, decision: Decision, sight: Sight) -> list[str]:
        """Run the actions; returns what failed."""
        try:
            return await self.executor.execute(
                decision.actions,
                spec=subject.spec,
                owner=Owner.of(subject.body),
                raw=sight.raw,
                registry=lambda: self._registry(subject),
            )
        except NameTaken as problem:
            self.recorder.record(subject.ref, reason=Reason.NAME_TAKEN, message=str(problem), warning=True)
            return [str(problem), *problem.failures]

    async def _write(self, subject: Subject, decision: Decision) -> None:
        if decision.status == subject.status:
            return
        version = subject.body["metadata"]["resourceVersion"]
        await self.cluster.replace_status(subject.ref, decision.status.wire(), version)

    def _tell(self, subject: Subject, decision: Decision, memory: _Memory) -> None:
        """Events, metrics and one log line per decision that changed something."""
        for note in decision.notes:
            warning = note.severity is Severity.WARNING
            self.recorder.record(subject.ref, reason=note.reason, message=note.message, warning=warning)
        self.metrics.phase(subject.key, decision.status.phase)
        fresh_at = decision.status.fresh_at
        self.metrics.model_event_time(subject.key, fresh_at.timestamp() if fresh_at else None)
        self.metrics.online.told(subject.key, decision.status.online)
        self.metrics.model_stale(subject.key, _stale(subject.spec, decision.status))
        self.metrics.invariants_violated(subject.key, decision.violated)
        self._count(subject.key, subject.status, decision.status)
        if decision.reason != memory.message or decision.notes:
            memory.message = decision.reason
            fields = {"phase": decision.status.phase.value, "actions": [type(a).__name__ for a in decision.actions]}
            log.info("%s", decision.reason, extra={"fields": fields})

    def _count(self, key: Key, old: ModelUpdateStatus, new: ModelUpdateStatus) -> None:
        if new.update is None:
            return
        before = old.update if old.update and old.update.number == new.update.number else None
        for record in new.update.phases[len(before.phases) if before else 0 :]:
            self.metrics.phase_finished(record.phase, record.seconds)
        if new.update.kind in TRAINS and (told := _events(new.update)) and not (before and _events(before)):
            self.metrics.events_trained(key, told)
        if new.update.phase in TERMINAL and (before is None or before.phase not in TERMINAL):
            self.metrics.update_finished(new.update.phase)

    @staticmethod
    def _after(memory: _Memory, wait: float | None, failures: list[str]) -> float | None:
        """Come back soon after failed effects, without losing the time that the decision asked for."""
        if not failures:
            memory.failures = 0
            return wait
        if memory.failures == 0:
            log.warning("effects failed: %s", "; ".join(failures))
        memory.failures += 1
        retry = min(_RETRY_BASE * (1 << min(memory.failures - 1, 16)), _RETRY_CAP)
        return retry if wait is None else min(wait, retry)

    async def _heads(self, subject: Subject) -> Reading | None:
        source = await stream_source(self.cluster, subject.key.namespace, subject.spec)
        return await self.poller.read(source, max_age=0.0 if subject.asked else FRESH) if source else None

    async def _count_back(self, subject: Subject, heads: Heads, counts: Mapping[str, int]) -> Mapping[str, str]:
        source = await stream_source(self.cluster, subject.key.namespace, subject.spec)
        return await self.poller.newest(source, heads, counts) if source else {}

    async def _drift(self, subject: Subject) -> DriftFindings | None:
        source = await stream_source(self.cluster, subject.key.namespace, subject.spec)
        return await self.poller.findings(source, subject.body["metadata"]["uid"]) if source else None

    async def _registry(self, subject: Subject) -> MlflowRegistry:
        return await open_registry(self.cluster, self.session, subject.key.namespace, subject.spec)

    async def _watch_log(self, subject: Subject, decision: Decision) -> None:
        if decision.wake_at_total is None and decision.wake_off_drift is None:
            self.poller.unwatch(subject.key)
            return
        try:
            source = await stream_source(self.cluster, subject.key.namespace, subject.spec)
        except SourceError as error:
            log.warning("the event log is not watched: %s", error)
            return
        known = decision.wake_off_drift
        drift = DriftWatch(subject.body["metadata"]["uid"], known) if known is not None else None
        if source:
            self.poller.watch(subject.key, source, decision.wake_at_total, drift)

    async def _watch_alias(self, subject: Subject, decision: Decision) -> None:
        follow, known = subject.spec.follow, decision.wake_off_version
        if follow is None or follow.alias is None or known is None:
            self.aliases.unwatch(subject.key)
            return
        try:
            registry = await self._registry(subject)
        except RegistryError as error:
            log.warning("alias %s is not watched until the next pass: %s", follow.alias, error.message)
            return
        interval = follow.poll_interval.total_seconds()
        self.aliases.watch(subject.key, registry, subject.spec.model.name, follow.alias, known=known, interval=interval)

    def _watch_online(self, subject: Subject, decision: Decision, sight: Sight) -> None:
        active = decision.status.active
        if decision.status.online is None or active is None:
            self.online.unwatch(subject.key)
            return
        addresses = addresses_of(sight.raw, subject.spec.serving.port)
        ready = [pod.name for pod in sight.observation.pods_of(active.hash) if pod.ready]
        replicas = {name: addresses[name] for name in ready if name in addresses}
        self.online.watch(subject.key, trainer_address(of_kind(sight.raw, POD.kind)), replicas)

    async def _refuse(
        self, key: Key, body: Mapping[str, Any], status: ModelUpdateStatus, error: ValidationError
    ) -> None:
        """A spec that cannot even be read; what serves is not looked at and not touched."""
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        refused = refuse(
            status, f"spec.{where}: {first['msg']}", int(body["metadata"]["generation"]), datetime.now(UTC)
        )
        if refused != status:
            ref = ObjectRef(MODEL_UPDATE, key.namespace, key.name, body["metadata"]["uid"])
            await self.cluster.replace_status(ref, refused.wire(), body["metadata"]["resourceVersion"])


def _stale(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> bool | None:
    if spec.freshness is None or status.fresh_at is None:
        return None
    return any(condition.type == Type.STALE and condition.status == "True" for condition in status.conditions)


def _events(update: Update) -> Mapping[str, int]:
    return update.candidate.events if update.candidate else update.events


def _read_status(raw: Mapping[str, Any] | None) -> ModelUpdateStatus:
    """A status that cannot be read counts as lost: it is rebuilt from what serves."""
    try:
        return read_status(dict(raw or {}))
    except ValidationError as error:
        log.warning("status cannot be read and is rebuilt: %s", error.errors()[0])
        return ModelUpdateStatus()


def build_reconciler(
    *,
    cluster: Cluster,
    recorder: EventRecorder,
    metrics: Metrics,
    poller: HeadsPoller[Key],
    settings: Settings,
    wake: Callable[[Key], None],
) -> Callable[[Key], Awaitable[float | None]]:
    """The function that runs one pass; an event loop is running."""
    return Reconciler(cluster=cluster, recorder=recorder, metrics=metrics, poller=poller, settings=settings, wake=wake)
