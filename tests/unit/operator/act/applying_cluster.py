"""Objects in memory that take server-side apply as the API server does, as far as effects can tell:
lists merge by key, fields that were applied before and are not any more go, everything gets defaults."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api.base import API_VERSION
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Colour, Kind, Phase, Revision, Trigger, Update, Window
from viridian_operator.api.version import ModelRef
from viridian_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from viridian_operator.kube.resources import Manifest, Resource, resource_of
from viridian_operator.observe.times import EPOCH

OWNER = Owner(name="ctr", namespace="recsys", uid="uid-1")
WINDOW = Window(start={"0": "0@0-0"}, end={"0": "100@5-0"})


def body(generation: int = 1) -> dict[str, Any]:
    """The ModelUpdate that everything belongs to."""
    meta = {"name": "ctr", "namespace": "recsys", "uid": "uid-1", "generation": generation}
    return {"apiVersion": API_VERSION, "kind": "ModelUpdate", "metadata": meta}


def spec(**changes: Any) -> ModelUpdateSpec:
    """A recommender; ``changes`` replace whole top-level fields."""
    fields: dict[str, Any] = {
        "model": {"name": "ctr"},
        "registry": {"trackingURI": "http://mlflow:5000", "credentialsSecretRef": {"name": "mlflow"}},
        "data": {
            "source": {
                "redisStream": {
                    "url": "redis://redis:6379/0",
                    "stream": "clicks",
                    "credentialsSecretRef": {"name": "redis"},
                }
            }
        },
        "training": {"template": {"spec": {"containers": [{"name": "trainer", "image": "trainer:1"}]}}},
        "serving": {
            "replicas": 2,
            "template": {"spec": {"containers": [{"name": "server", "image": "server:1"}]}},
        },
    }
    return ModelUpdateSpec.model_validate(fields | changes)


def revision(number: int = 1, **changes: Any) -> Revision:
    """A revision of version ``number``."""
    fields: dict[str, Any] = {
        "version": str(number),
        "digest": f"sha256:{number:064d}",
        "hash": f"hash{number}",
        "template_hash": "t1",
        "deployment": f"ctr-hash{number}",
        "colour": Colour.BLUE,
        "event_time": 1732453000.5,
    }
    return Revision(**(fields | changes))


def update(phase: Phase = Phase.TRAINING, **changes: Any) -> Update:
    """Update 7 in ``phase``."""
    fields: dict[str, Any] = {
        "number": 7,
        "kind": Kind.INCREMENTAL,
        "trigger": Trigger(kind="NewEvents", at=EPOCH),
        "phase": phase,
        "started_at": EPOCH,
        "phase_since": EPOCH,
        "window": WINDOW,
        "parent": ModelRef(version="1", digest="sha256:p"),
    }
    return Update(**(fields | changes))


class ApplyingCluster:
    """``Cluster`` in memory; ``writes`` tells what was sent, ``fail_on`` holds errors by (verb, kind)."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.writes: list[str] = []
        self.fail_on: dict[tuple[str, str], ApiError] = {}
        self._uids = itertools.count(1)
        self._applied: dict[tuple[str, str], Manifest] = {}

    def put(self, obj: Mapping[str, Any]) -> Manifest:
        """Store an object as somebody else made it."""
        stored = copy.deepcopy(dict(obj))
        stored["metadata"].setdefault("uid", f"u{next(self._uids)}")
        self.objects[stored["kind"], stored["metadata"]["name"]] = stored
        return stored

    def names(self, kind: str) -> set[str]:
        """Names of the objects of a kind."""
        return {name for found, name in self.objects if found == kind}

    @property
    def raw(self) -> dict[tuple[str, str], Manifest]:
        """What an observation would hold."""
        return copy.deepcopy({key: obj for key, obj in self.objects.items() if key[0] != "Secret"})

    def _check(self, verb: str, kind: str, name: str) -> None:
        if verb != "get" and verb != "list":
            self.writes.append(f"{verb} {kind} {name}")
        if error := self.fail_on.get((verb, kind)):
            raise error

    async def get(self, kind: Resource, _namespace: str, name: str) -> Manifest:
        self._check("get", kind.kind, name)
        if (kind.kind, name) not in self.objects:
            raise NotFound("not found", code=404)
        return copy.deepcopy(self.objects[kind.kind, name])

    async def list(
        self, kind: Resource, _namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        self._check("list", kind.kind, "")
        return [
            copy.deepcopy(obj)
            for (found, _), obj in self.objects.items()
            if found == kind.kind and (labels or {}).items() <= (obj["metadata"].get("labels") or {}).items()
        ]

    async def create(self, obj: Manifest) -> Manifest:
        kind, name = resource_of(obj).kind, obj["metadata"]["name"]
        self._check("create", kind, name)
        if (kind, name) in self.objects:
            raise AlreadyExists("exists", code=409)
        return copy.deepcopy(self.put(obj))

    async def apply(self, obj: Manifest) -> Manifest:
        kind, name = resource_of(obj).kind, obj["metadata"]["name"]
        self._check("apply", kind, name)
        live = self.objects.get((kind, name))
        wanted = obj["metadata"].get("uid")
        if wanted and (live is None or live["metadata"]["uid"] != wanted):
            raise Conflict("uid", code=409)
        merged = _merge(_without(live or {}, self._applied.get((kind, name)) or {}), obj)
        self._applied[kind, name] = copy.deepcopy(obj)
        return copy.deepcopy(self.put(_defaulted(merged)))

    async def delete(self, kind: Resource, _namespace: str, name: str, *, uid: str | None = None, **_: Any) -> bool:
        self._check("delete", kind.kind, name)
        live = self.objects.get((kind.kind, name))
        if live is not None and uid is not None and live["metadata"]["uid"] != uid:
            raise Conflict("uid", code=409)
        return self.objects.pop((kind.kind, name), None) is not None


def _without(live: Manifest, applied: Manifest) -> Manifest:
    """Fields that we applied before are ours: they go if they are not applied again."""
    result = copy.deepcopy(live)
    for key, value in applied.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _without(result[key], value)
        else:
            result.pop(key, None)
    return result


def _merge(live: Manifest, obj: Manifest) -> Manifest:
    result = copy.deepcopy(live)
    for key, value in obj.items():
        if key == "selector" or not isinstance(value, dict) or not isinstance(result.get(key), dict):
            result[key] = copy.deepcopy(value)
        else:
            result[key] = _merge(result[key], value)
    return result


def _defaulted(obj: Manifest) -> Manifest:
    """Some of the fields that the API server fills in, where the comparison might trip over them."""
    if obj["kind"] == "Service":
        obj["spec"].setdefault("clusterIP", "10.96.0.9")
        obj["spec"].setdefault("sessionAffinity", "None")
    if obj["kind"] == "Deployment":
        pod = obj["spec"]["template"]["spec"]
        pod.setdefault("dnsPolicy", "ClusterFirst")
        for container in pod["containers"]:
            container.setdefault("imagePullPolicy", "IfNotPresent")
            for port in container.get("ports", ()):
                port.setdefault("protocol", "TCP")
    return obj
