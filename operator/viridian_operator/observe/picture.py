"""The observation that the objects of a pass make together; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from viridian_operator.api.children import is_ours
from viridian_operator.api.names import drift_monitor
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus
from viridian_operator.decide.observation import DeploymentView, JobView, MonitorView, Observation, ServiceView
from viridian_operator.kube.resources import CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE, JOB, POD, SERVICE, Key, Manifest
from viridian_operator.observe.children import expected_deployment, service_names
from viridian_operator.observe.deployments import deployment_view, monitor_view
from viridian_operator.observe.jobs import job_view
from viridian_operator.observe.needs import Needs
from viridian_operator.observe.online import trainer_view
from viridian_operator.observe.pods import pod_views
from viridian_operator.observe.services import may_use, service_view
from viridian_operator.observe.sight import Raw, of_kind


def picture(
    body: Mapping[str, Any], raw: Raw, spec: ModelUpdateSpec, status: ModelUpdateStatus, needs: Needs
) -> Observation:
    """What the cluster shows; registry, event log and answers of pods come later."""
    meta = body["metadata"]
    key, uid = Key(meta["namespace"], meta["name"]), meta["uid"]
    active, preview = (_service(raw, name, key, uid) for name in service_names(key, spec))
    return Observation(
        name=key.name,
        namespace=key.namespace,
        uid=uid,
        generation=int(meta.get("generation") or 0),
        annotations=meta.get("annotations") or {},
        deployments=_deployments(_ours(raw, DEPLOYMENT.kind, key, uid), _ours(raw, CONFIG_MAP.kind, key, uid)),
        pods=pod_views(of_kind(raw, POD.kind)),
        active_service=active,
        preview_service=preview,
        taken=tuple(_taken(raw, key, uid, spec, expected_deployment(status, needs))),
        jobs=_jobs(_ours(raw, JOB.kind, key, uid), of_kind(raw, POD.kind)),
        monitor=_monitor(_ours(raw, DEPLOYMENT.kind, key, uid), key),
        online=trainer_view(_ours(raw, DEPLOYMENT.kind, key, uid), of_kind(raw, POD.kind), key),
        deleting=bool(meta.get("deletionTimestamp")),
    )


def _ours(raw: Raw, kind: str, key: Key, uid: str) -> list[Manifest]:
    return [obj for obj in of_kind(raw, kind) if is_ours(obj, key.name, uid)]


def _deployments(objects: list[Manifest], config_maps: list[Manifest]) -> tuple[DeploymentView, ...]:
    named = {obj["metadata"]["name"]: obj for obj in config_maps}
    views = (deployment_view(obj, named) for obj in objects)
    return tuple(sorted((view for view in views if view), key=lambda view: view.name))


def _monitor(objects: list[Manifest], key: Key) -> MonitorView | None:
    wanted = drift_monitor(key.name)
    return next((monitor_view(obj) for obj in objects if obj["metadata"]["name"] == wanted), None)


def _jobs(objects: list[Manifest], pods: list[Manifest]) -> tuple[JobView, ...]:
    views = (job_view(obj, pods) for obj in objects)
    return tuple(sorted((view for view in views if view), key=lambda view: view.name))


def _service(raw: Raw, name: str, key: Key, uid: str) -> ServiceView | None:
    service = raw.get((SERVICE.kind, name))
    if service is None:
        return None
    return service_view(service, of_kind(raw, ENDPOINT_SLICE.kind), of_kind(raw, POD.kind), name=key.name, uid=uid)


def _taken(raw: Raw, key: Key, uid: str, spec: ModelUpdateSpec, deployment: str) -> Iterator[str]:
    """Objects that have the name of a child and belong to somebody else."""
    for name in service_names(key, spec):
        service = raw.get((SERVICE.kind, name))
        if service is not None and not may_use(service, key.name, uid):
            yield f"Service {name}"
    found = raw.get((DEPLOYMENT.kind, deployment))
    if found is not None and not is_ours(found, key.name, uid):
        yield f"Deployment {deployment}"
