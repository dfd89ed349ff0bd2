"""The objects of one revision: its immutable record, the Deployment taken from it, the disruption budget."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from viridian_operator.act.manifests.deployment import (
    lasting_annotations,
    revision_labels,
    selector,
    version_annotations,
)
from viridian_operator.act.manifests.owner import SERVING, Owner
from viridian_operator.api import names
from viridian_operator.api.serves import GOLDEN_FILE, REVISION_FILE, STANDBY_FILE
from viridian_operator.api.spec import DeletionPolicy, ModelUpdateSpec
from viridian_operator.api.status import Revision
from viridian_operator.decide.hashing import canonical_json
from viridian_operator.kube.resources import Manifest

DEPLOYMENT_FILE = "deployment.json"
NO_GOLDEN = '{"tolerance":0.0001,"requests":[]}'


def is_owned(spec: ModelUpdateSpec) -> bool:
    """Whether what serves goes when the ModelUpdate is deleted."""
    return spec.deletion_policy is DeletionPolicy.DELETE


def record_data(
    spec: ModelUpdateSpec, revision: Revision, deployment: Mapping[str, Any], golden: str
) -> dict[str, str]:
    """Content of the ConfigMap: what the pods must serve, and the Deployment that makes them; where pods take
    versions, only the Deployment."""
    rendered = {DEPLOYMENT_FILE: canonical_json(dict(deployment))}
    return rendered if revision.swappable else _served(spec, revision, golden) | rendered


def _served(spec: ModelUpdateSpec, revision: Revision, golden: str) -> dict[str, str]:
    wanted = {"model": spec.model.name, "version": revision.version, "digest": revision.digest}
    content: dict[str, Any] = {**wanted, "eventTime": revision.event_time}
    if revision.chain:
        content |= {"follow": True, "chain": revision.chain}
    return {REVISION_FILE: canonical_json(content), GOLDEN_FILE: golden or NO_GOLDEN}


def serves(
    spec: ModelUpdateSpec, owner: Owner, revision: Revision, golden: str, standby: Mapping[str, str]
) -> Manifest:
    """The ConfigMap that says which version pods serve; ``standby`` are golden requests of others, by digest."""
    about = {**version_annotations(revision), names.ANNOTATION_GRAPH: revision.graph}
    data = _served(spec, revision, golden) | {STANDBY_FILE: canonical_json(dict(standby))}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(
            names.serves(revision.deployment),
            SERVING,
            labels=revision_labels(revision),
            annotations=about,
            owned=is_owned(spec),
        ),
        "data": data,
    }


def record(spec: ModelUpdateSpec, owner: Owner, revision: Revision, data: Mapping[str, str]) -> Manifest:
    """The ConfigMap of a revision; its data never changes."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owner.metadata(
            revision.deployment,
            SERVING,
            labels=revision_labels(revision),
            annotations=lasting_annotations(revision),
            owned=is_owned(spec),
        ),
        "immutable": True,
        "data": dict(data),
    }


def recorded_deployment(config_map: Mapping[str, Any]) -> Manifest | None:
    """The Deployment as it was rendered for this revision; None if the record does not hold it."""
    try:
        manifest = json.loads(config_map["data"][DEPLOYMENT_FILE])
    except (KeyError, TypeError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None


def sized(
    deployment: Mapping[str, Any],
    spec: ModelUpdateSpec,
    owner: Owner,
    *,
    replicas: int,
    role: str,
    serving: Revision | None = None,
) -> Manifest:
    """The recorded Deployment with what may change: replicas, role, owner reference, and which version it is
    ``serving`` where its pods take versions."""
    manifest = copy.deepcopy(dict(deployment))
    manifest["spec"]["replicas"] = replicas
    manifest["metadata"]["labels"][names.ROLE] = role
    if serving is not None:
        manifest["metadata"]["annotations"] |= version_annotations(serving)
    if is_owned(spec):
        manifest["metadata"]["ownerReferences"] = [owner.reference()]
    return manifest


def recovered_deployment(live: Mapping[str, Any]) -> Manifest:
    """A Deployment that lost its record, as a manifest: what serves is not rendered anew."""
    meta, spec = live["metadata"], copy.deepcopy(dict(live["spec"]))
    spec.pop("replicas", None)
    labels = {key: value for key, value in meta["labels"].items() if key != names.ROLE}
    ours = {key: value for key, value in (meta.get("annotations") or {}).items() if key.startswith("viridian.dev/")}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "labels": labels, "annotations": ours},
        "spec": spec,
    }


def disruption_budget(spec: ModelUpdateSpec, owner: Owner, revision: Revision) -> Manifest:
    """One pod at a time may be drained; pods that are not ready never hold up a drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owner.metadata(
            revision.deployment, SERVING, labels=revision_labels(revision), owned=is_owned(spec)
        ),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(owner, revision.hash)},
        },
    }
