"""What the API server cannot see in a spec, and what is not supported yet; the reasons behind InvalidSpec."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from viridian_operator.api import names
from viridian_operator.api.data import Start
from viridian_operator.api.follow import OUTPUTS
from viridian_operator.api.gate import METRICS, Gate
from viridian_operator.api.health import HealthCheck, Prometheus
from viridian_operator.api.online import ChainStore
from viridian_operator.api.rollout import ApprovalMode, Bake, Capacity, Rollout
from viridian_operator.api.serving import IdentityPolicy, Serving
from viridian_operator.api.spec import ModelUpdateSpec, Registry, Strategy
from viridian_operator.api.status import Offsets
from viridian_operator.api.training import Begin
from viridian_operator.api.trigger import Trigger

_SHORTEST_POLL: Final = timedelta(seconds=5)
_LONGEST_JITTER: Final = timedelta(days=1)
_BEGINS: Final = {
    Strategy.PERIODIC: (Begin.FULL, Begin.WARM),
    Strategy.INCREMENTAL: (Begin.WARM,),
    Strategy.ONLINE: (Begin.FULL,),
}
_PLACEHOLDERS: Final = (
    "namespace",
    "name",
    "version",
    "revision",
    "previousVersion",
    "previousRevision",
)


def problems(spec: ModelUpdateSpec, name: str) -> list[str]:
    """Sentences that say what to write instead; empty if ``spec`` can be acted upon.

    Parameters
    ----------
    spec
        A spec that passed the rules of the CRD.
    name
        Name of the ModelUpdate.
    """
    return [
        *_name(name, spec.serving),
        *_strategy(spec),
        *_registry(spec.registry),
        *_source(spec),
        *_deadlines(spec),
        *_trigger(spec.trigger),
        *_gate(spec.gate),
        *_rollout(spec.rollout, spec.serving.identity),
    ]


def _name(name: str, serving: Serving) -> Iterator[str]:
    if len(name) > names.NAME_LIMIT:
        yield f"metadata.name has {len(name)} characters: shorten it to {names.NAME_LIMIT}"
    active = names.active_service(name, serving.services.active)
    if active == names.preview_service(name, serving.services.preview):
        yield f"serving.services names {active} twice: give the preview Service another name"


def _strategy(spec: ModelUpdateSpec) -> Iterator[str]:
    if spec.strategy is Strategy.ONLINE:
        yield from _online(spec)
    elif spec.online is not None:
        yield "online belongs to strategy Online: set it, or leave online out"
    if spec.strategy is Strategy.REGISTRY:
        yield from _follow(spec)
        return
    if spec.data is None or spec.training is None:
        yield f"strategy {spec.strategy} trains: give data (source of events) and training (what trains)"
    if spec.strategy is Strategy.PERIODIC and spec.trigger.schedule is None:
        yield "strategy Periodic needs trigger.schedule, e.g. 0 3 * * *"
    if spec.strategy is Strategy.PERIODIC and spec.trigger.new_events is not None:
        yield (
            "strategy Periodic starts by trigger.schedule, watermarkAge and drift: leave trigger.newEvents out, or "
            "write strategy: Incremental"
        )
    if spec.training and spec.training.start not in (None, *_BEGINS[spec.strategy]):
        yield (
            f"training.start {spec.training.start} does not go with strategy {spec.strategy}: Incremental always "
            "starts Warm and Online Full, so leave it out or write strategy: Periodic"
        )
    trigger = spec.trigger
    asks = (trigger.schedule, trigger.new_events, trigger.watermark_age, trigger.drift)
    if spec.strategy is Strategy.INCREMENTAL and not any(asks):
        yield "strategy Incremental needs trigger.newEvents, schedule, watermarkAge or drift, e.g. newEvents: 20000"


def _online(spec: ModelUpdateSpec) -> Iterator[str]:
    if spec.online is None:
        yield "strategy Online needs online.store, e.g. online: {store: {url: redis://HOST:6379/1}}"
    else:
        yield from _store(spec.online.store)
    if any((spec.trigger.new_events, spec.trigger.watermark_age, spec.trigger.drift)):
        yield "strategy Online trains on every event at once: leave trigger.newEvents, watermarkAge and drift out"
    if spec.serving.identity is not IdentityPolicy.DIGEST:
        yield "strategy Online needs pods that tell which sequence they serve: set serving.identity to Digest"
    if spec.data and spec.data.replay.ratio:
        yield "strategy Online takes every event once: set data.replay.ratio to 0"
    for check in spec.rollout.health_checks:
        if check.golden or (check.latency and check.latency.path is None):
            yield (
                f"health check {check.name} asks golden requests of one version, and the weights of strategy Online "
                "change all the time: leave it out (replicas ask those of every delta themselves), or give it a path"
            )


def _store(store: ChainStore) -> Iterator[str]:
    if (store.url is None) == (store.persistent_volume_claim is None):
        yield "online.store names exactly one store: url (redis, rediss or s3) or persistentVolumeClaim"
    elif store.url is not None and not _is_address(store.url, "redis", "rediss", "s3"):
        yield f"online.store.url {_shown(store.url)!r} is no address: write redis://HOST:PORT/DB or s3://BUCKET/PREFIX"


def _follow(spec: ModelUpdateSpec) -> Iterator[str]:
    follow = spec.follow
    if follow is None or (follow.alias is None) == (follow.version is None):
        yield "strategy Registry follows either an alias or a version, e.g. follow: {alias: challenger}"
    elif follow.alias in OUTPUTS:
        yield f"follow.alias {follow.alias} is written by Viridian itself: follow one of your own, e.g. challenger"
    if follow and follow.poll_interval < _SHORTEST_POLL:
        yield "follow.pollInterval must be at least 5s"
    if (spec.data is None) != (spec.evaluation.template is None):
        yield "strategy Registry judges with data and evaluation.template: give both, or neither for no gate"


def _registry(registry: Registry) -> Iterator[str]:
    for field, address in (("trackingURI", registry.tracking_uri), ("externalURL", registry.external_url)):
        if address is not None and not _is_address(address, "http", "https"):
            yield f"registry.{field} {_shown(address)!r} is no address: write http://HOST:PORT"


def _source(spec: ModelUpdateSpec) -> Iterator[str]:
    if spec.data and spec.data.max_events is not None and spec.data.start is Start.LATEST:
        yield "data.start Latest leaves nothing that data.maxEvents could bound: leave out one of them"
    stream = spec.data.source.redis_stream if spec.data else None
    if spec.data and (spec.data.start is Start.OFFSETS) != bool(spec.data.start_offsets):
        yield "data.start Offsets and data.startOffsets belong together: give both, or neither"
    if spec.data and spec.data.start_offsets and spec.data.max_events is not None:
        yield "data.startOffsets already say where the first window begins: leave data.maxEvents out"
    if spec.data and spec.data.start_offsets and stream:
        yield from _start_offsets(spec.data.start_offsets, stream.partitions)
    if spec.data and stream is None:
        yield "data.source names no event log: give redisStream"
    if stream and not _is_address(stream.url, "redis", "rediss"):
        yield f"data.source.redisStream.url {_shown(stream.url)!r} is no address: write redis://HOST:PORT/DB"


def _start_offsets(offsets: Offsets, partitions: int) -> Iterator[str]:
    wanted = {str(partition) for partition in range(partitions)}
    if set(offsets) != wanted:
        yield f"data.startOffsets name partitions {sorted(offsets)}: name each of {sorted(wanted)}"


def _deadlines(spec: ModelUpdateSpec) -> Iterator[str]:
    parts = {"training": spec.training, "evaluation": spec.evaluation}
    for name, deadlines in ((name, part.deadlines) for name, part in parts.items() if part):
        if deadlines.total is not None and deadlines.total < deadlines.running:
            yield f"{name}.deadlines.total must not be shorter than {name}.deadlines.running: lengthen total"


def _trigger(trigger: Trigger) -> Iterator[str]:
    if trigger.schedule is not None:
        try:
            next(CronSim(trigger.schedule, datetime(2024, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            yield f"trigger.schedule {trigger.schedule!r} cannot be read ({error}): write e.g. */15 * * * *"
        except StopIteration:
            yield f"trigger.schedule {trigger.schedule!r} never comes: name a day that exists"
    if trigger.jitter is not None and trigger.schedule is None:
        yield "trigger.jitter spreads scheduled updates: give trigger.schedule, or leave jitter out"
    if trigger.jitter is not None and trigger.jitter > _LONGEST_JITTER:
        yield "trigger.jitter must be at most 1d"
    if not _is_zone(trigger.time_zone):
        yield f"trigger.timeZone {trigger.time_zone!r} is unknown: write an IANA name, e.g. Europe/Berlin"


def _gate(gate: Gate) -> Iterator[str]:
    for name in sorted(set(gate.floors) - set(METRICS)):
        yield f"gate.floors names an unknown metric {name}: write any of {', '.join(METRICS)}"


def _rollout(rollout: Rollout, identity: IdentityPolicy) -> Iterator[str]:
    if rollout.capacity is Capacity.HOT_SWAP and identity is not IdentityPolicy.DIGEST:
        yield (
            "rollout.capacity HotSwap needs pods that tell what they have loaded: "
            "set serving.identity to Digest, or use Surge"
        )
    if rollout.capacity is Capacity.RECREATE and rollout.approval.mode is ApprovalMode.MANUAL:
        yield (
            "rollout.capacity Recreate stops what serves before the candidate starts, so that it cannot wait for "
            "rollout.approval.mode Manual: use Surge, or set mode Automatic"
        )
    yield from _bake(rollout.bake)
    for check in rollout.health_checks:
        yield from _health(check, rollout.bake, identity)


def _bake(bake: Bake) -> Iterator[str]:
    if bake.interval > bake.duration:
        yield "rollout.bake.interval must not be longer than bake.duration: shorten the interval"
    if bake.deadline is not None and bake.deadline < bake.duration:
        yield "rollout.bake.deadline must not be shorter than bake.duration: lengthen the deadline"


def _health(check: HealthCheck, bake: Bake, identity: IdentityPolicy) -> Iterator[str]:
    proven = identity is IdentityPolicy.DIGEST
    if check.golden and not proven:
        yield f"health check {check.name} is golden, which needs serving.identity Digest: change one of them"
    if check.latency and check.latency.path is None and not proven:
        yield f"health check {check.name} asks golden requests, which needs serving.identity Digest: give it a path"
    if check.interval and check.interval > bake.duration:
        yield f"interval of health check {check.name} must not be longer than bake.duration: shorten it"
    if check.prometheus:
        yield from _prometheus(check.name, check.prometheus)


def _prometheus(name: str, check: Prometheus) -> Iterator[str]:
    if not _is_address(check.url, "http", "https"):
        yield f"url {_shown(check.url)!r} of health check {name} is no address: write http://HOST:PORT"
    for found in re.findall(r"\{\{\s*(\w+)\s*\}\}", f"{check.query} {check.samples_query or ''}"):
        if found not in _PLACEHOLDERS:
            known = ", ".join(_PLACEHOLDERS)
            yield f"health check {name} asks for {found} in its query: only {known} can be filled in"
    if check.max_ratio is not None and not re.search(r"\{\{\s*(version|revision)\s*\}\}", check.query):
        yield (
            f"health check {name} compares a query with itself: "
            "name {{revision}} or {{version}} in it, or give max instead of maxRatio"
        )


def _is_address(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _shown(address: str) -> str:
    """``address`` for a message that everybody may read: a slash in a password hides it from the rule of the CRD."""
    return re.sub("//.*@", "//…@", address)


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a directory of the database
        return name == "UTC"
    return True
