"""Environment contract of training, evaluation and check Jobs (docs/reference/contracts.md)."""

from __future__ import annotations

import hashlib
from typing import Any

from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.pod import variable
from viridian_operator.api import names
from viridian_operator.api.base import ApiModel
from viridian_operator.api.children import ONLINE_PORT, PORT_VARIABLE
from viridian_operator.api.gate import Split
from viridian_operator.api.online import DeltaEncoding
from viridian_operator.api.spec import ModelUpdateSpec, Registry
from viridian_operator.api.status import Kind
from viridian_operator.decide.decision import CreateCheckJob, CreateJob, EnsureOnlineTrainer
from viridian_operator.decide.hashing import canonical_json
from viridian_operator.kube.resources import Manifest

CHECKPOINT_DIR = "/var/lib/viridian/checkpoint"
#: where a volume with chains is mounted
CHAIN_STORE_DIR = "/var/lib/viridian/store"

#: ``CreateJob.task`` → ``VIRIDIAN_TASK``
TASKS = {"train": "Train", "eval": "Evaluate"}
_ENCODINGS = {DeltaEncoding.FLOAT32: "fp32", DeltaEncoding.INT8: "int8"}
_EVALUATED_AS = {Kind.FOLLOW: Kind.FULL, Kind.ANCHOR: Kind.INCREMENTAL}


def registry_variables(registry: Registry) -> list[Manifest]:
    """Where the registry is; credentials come from the Secret by ``envFrom``."""
    return [variable("MLFLOW_TRACKING_URI", registry.tracking_uri)]


def job_variables(spec: ModelUpdateSpec, owner: Owner, action: CreateJob) -> list[Manifest]:
    """What the Job is asked to do, with credentials of the event log."""
    values: dict[str, Any] = {
        "VIRIDIAN_UPDATE": _update(owner, action),
        "VIRIDIAN_WINDOW": action.window.wire(),
        "VIRIDIAN_FRESH": action.update.fresh,
        "VIRIDIAN_PARENT": _wire(action.parent),
        "VIRIDIAN_DATA": _wire(spec.data),
        "VIRIDIAN_TRAINING": _training(spec),
        "VIRIDIAN_GATE": _gate(spec, action),
    }
    if action.task != "train":
        values["VIRIDIAN_CANDIDATE"] = _wire(action.candidate)
        values["VIRIDIAN_REFERENCE"] = _wire(action.reference)
        values["VIRIDIAN_HOLDOUT"] = _wire(action.holdout)
        values["VIRIDIAN_PREDICTED"] = _wire(action.predicted)
    return [
        variable("VIRIDIAN_TASK", TASKS[action.task]),
        variable("VIRIDIAN_MODEL_NAME", spec.model.name),
        variable("VIRIDIAN_CHECKPOINT_DIR", CHECKPOINT_DIR),
        *(variable(name, canonical_json(value)) for name, value in values.items()),
        *_redis_credentials(spec),
    ]


def check_variables(spec: ModelUpdateSpec, owner: Owner, action: CreateCheckJob) -> list[Manifest]:
    """What the Job of a health check is to look at."""
    services, revision, previous = spec.serving.services, action.revision, action.previous
    update = {"uid": owner.uid, "namespace": owner.namespace, "name": owner.name, "number": action.update.number}
    before = {"version": previous.version, "digest": previous.digest} if previous else None
    values = {
        "VIRIDIAN_CHECK": action.check,
        "VIRIDIAN_UPDATE": canonical_json(update | {"kind": action.update.kind.value}),
        "VIRIDIAN_MODEL_NAME": spec.model.name,
        "VIRIDIAN_VERSION": revision.version,
        "VIRIDIAN_DIGEST": revision.digest,
        "VIRIDIAN_PREVIOUS": canonical_json(before),
        "VIRIDIAN_ACTIVE_URL": _url(names.active_service(owner.name, services.active), owner),
        "VIRIDIAN_PREVIEW_URL": _url(names.preview_service(owner.name, services.preview), owner),
    }
    return [variable(name, value) for name, value in values.items()]


def monitor_variables(spec: ModelUpdateSpec, owner: Owner) -> list[Manifest]:
    """What the drift monitor follows and asks; nothing in it changes with an update, so that none restarts it."""
    active = names.active_service(owner.name, spec.serving.services.active)
    drift = {"delta": spec.trigger.drift.delta if spec.trigger.drift else None, "key": owner.uid}
    return [
        variable("VIRIDIAN_TASK", "Monitor"),
        variable("VIRIDIAN_MODEL_NAME", spec.model.name),
        variable("VIRIDIAN_ACTIVE_URL", _url(active, owner)),
        variable("VIRIDIAN_DATA", canonical_json(_wire(spec.data))),
        variable("VIRIDIAN_DRIFT", canonical_json(drift)),
        *_redis_credentials(spec),
    ]


def chain_variables(spec: ModelUpdateSpec) -> list[Manifest]:
    """Where chains are published and followed, with the credentials of the store."""
    if spec.online is None:
        return []
    store = spec.online.store
    address = store.url or f"file://{CHAIN_STORE_DIR}"
    secret = store.credentials_secret_ref
    credentials = _credentials("VIRIDIAN_STORE", secret.name) if secret else []
    return [variable("VIRIDIAN_STORE", address), *credentials]


def online_variables(spec: ModelUpdateSpec, owner: Owner, action: EnsureOnlineTrainer) -> list[Manifest]:
    """What the online trainer follows and publishes; nothing in it changes with an anchor, so that none restarts it."""
    online = spec.online
    if online is None:
        raise LookupError("spec.online is needed for an online trainer")
    about = {"uid": owner.uid, "namespace": owner.namespace, "name": owner.name}
    settings = {
        "publishInterval": online.publish_interval_milliseconds / 1000,
        "anchorEvery": online.anchors.every.total_seconds(),
        "anchorEvents": online.anchors.events,
        "window": online.window,
        "alpha": online.test.alpha,
        "margin": online.test.margin,
        "rows": online.deltas.rows,
        "denseEvery": online.deltas.dense_every,
        "encoding": _ENCODINGS[online.deltas.encoding],
    }
    values: dict[str, Any] = {
        "VIRIDIAN_UPDATE": about | {"number": 0, "attempt": 0, "kind": Kind.INCREMENTAL.value},
        "VIRIDIAN_PARENT": _wire(action.parent),
        "VIRIDIAN_DATA": _wire(spec.data),
        "VIRIDIAN_TRAINING": _training(spec),
        "VIRIDIAN_GATE": {**spec.gate.wire(), "split": Split.HOLDOUT.value, "looks": 1},
        "VIRIDIAN_ONLINE": settings,
    }
    return [
        variable("VIRIDIAN_TASK", "Online"),
        variable("VIRIDIAN_MODEL_NAME", spec.model.name),
        variable("VIRIDIAN_CHAIN", action.chain),
        # a chain goes on from its own checkpoints only
        variable("VIRIDIAN_CHECKPOINT_DIR", f"{CHECKPOINT_DIR}/{action.chain}"),
        variable(PORT_VARIABLE, str(ONLINE_PORT)),
        *(variable(name, canonical_json(value)) for name, value in values.items()),
        *chain_variables(spec),
        *_redis_credentials(spec),
    ]


def _url(service: str, owner: Owner) -> str:
    return f"http://{service}.{owner.namespace}:{names.SERVICE_PORT}"


def traceparent(owner: Owner, number: int) -> Manifest:
    """W3C trace context of an update: the same for all its Jobs and attempts, without any state."""
    digest = hashlib.sha256(f"{owner.uid}/{number}".encode()).hexdigest()
    return variable("TRACEPARENT", f"00-{digest[:32]}-{digest[32:48]}-01")


def _wire(value: ApiModel | None) -> dict[str, Any] | None:
    return value.wire() if value is not None else None


def _update(owner: Owner, action: CreateJob) -> dict[str, Any]:
    return {
        "uid": owner.uid,
        "namespace": owner.namespace,
        "name": owner.name,
        "number": action.update.number,
        "attempt": action.update.attempts.number,
        # evaluators know two kinds; a followed version has no parent here, an anchor has
        "kind": _EVALUATED_AS.get(action.update.kind, action.update.kind).value,
    }


def _gate(spec: ModelUpdateSpec, action: CreateJob) -> dict[str, Any]:
    """The gate as it stands, but with the split that the update began with: training and judgement must agree."""
    return {**spec.gate.wire(), "split": action.update.split or Split.HOLDOUT.value, "looks": spec.gate.looks}


def _training(spec: ModelUpdateSpec) -> dict[str, Any]:
    if spec.training is None:
        return {"config": {}, "seed": 0}
    return {"config": spec.training.config, "seed": spec.training.seed}


def _redis_credentials(spec: ModelUpdateSpec) -> list[Manifest]:
    source = spec.data.source.redis_stream if spec.data else None
    if source is None or source.credentials_secret_ref is None:
        return []
    return _credentials("VIRIDIAN_REDIS", source.credentials_secret_ref.name)


def _credentials(prefix: str, secret: str) -> list[Manifest]:
    return [
        _from_secret(f"{prefix}_USERNAME", secret, "username", optional=True),
        _from_secret(f"{prefix}_PASSWORD", secret, "password", optional=False),
    ]


def _from_secret(variable_name: str, secret: str, key: str, *, optional: bool) -> Manifest:
    reference: Manifest = {"name": secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": variable_name, "valueFrom": {"secretKeyRef": reference}}
