"""The Deployment of one revision: the user's pod template, completed to keep the serving contract."""

from __future__ import annotations

from viridian_operator.act.manifests.environment import CHAIN_STORE_DIR, chain_variables, registry_variables
from viridian_operator.act.manifests.owner import SERVING, Owner
from viridian_operator.act.manifests.pod import (
    add_environment,
    add_environment_from,
    add_labels,
    add_storage,
    add_volume,
    completed,
    main_container,
    section,
    variable,
)
from viridian_operator.api import names
from viridian_operator.api.children import PORT_VARIABLE
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Revision
from viridian_operator.kube.resources import Manifest

REVISION_DIR = "/etc/viridian/revision"
ADMIN_DIR = "/etc/viridian/admin"
BUNDLE_DIR = "/var/lib/viridian/bundles"
GRACE_SECONDS = 60
PRESTOP_SECONDS = 5
#: beyond scheduling and loading, until the Deployment itself reports that it makes no progress
_PROGRESS_MARGIN = 60


def revision_labels(revision: Revision) -> dict[str, str]:
    """Labels of everything that belongs to one revision."""
    return {names.REVISION: revision.hash, names.COLOUR: revision.colour.value}


def revision_annotations(revision: Revision) -> dict[str, str]:
    """What a revision is, so that a lost status can be found again."""
    return {names.ANNOTATION_TEMPLATE_HASH: revision.template_hash} | version_annotations(revision)


def version_annotations(revision: Revision) -> dict[str, str]:
    """Which version a revision serves."""
    annotations = {
        names.ANNOTATION_VERSION: revision.version,
        names.ANNOTATION_DIGEST: revision.digest,
    }
    if revision.event_time is not None:
        annotations[names.ANNOTATION_EVENT_TIME] = repr(revision.event_time)
    return annotations


def lasting_annotations(revision: Revision) -> dict[str, str]:
    """What holds of a Deployment and its pods for as long as they live: where pods take versions, no version."""
    if not revision.swappable:
        return revision_annotations(revision)
    followed = {names.ANNOTATION_CHAIN: revision.chain} if revision.chain else {}
    return {
        names.ANNOTATION_TEMPLATE_HASH: revision.template_hash,
        names.ANNOTATION_SERVES: names.serves(revision.deployment),
    } | followed


def selector(owner: Owner, revision: str) -> dict[str, str]:
    """Selects the pods of one revision; also the whole selector of the Services."""
    return {names.MODEL_UPDATE: owner.name, names.REVISION: revision}


def deployment(spec: ModelUpdateSpec, owner: Owner, revision: Revision) -> Manifest:
    """The Deployment without what may change later: replicas, role and owner reference.

    Raises
    ------
    InvalidTemplate
        If the template has no container.
    """
    deadlines = spec.rollout.deadlines
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(
            revision.deployment,
            SERVING,
            labels=revision_labels(revision),
            annotations=lasting_annotations(revision),
            owned=False,
        ),
        "spec": {
            "selector": {"matchLabels": selector(owner, revision.hash)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": int((deadlines.schedule + deadlines.load).total_seconds()) + _PROGRESS_MARGIN,
            "template": _pod(spec, owner, revision),
        },
    }


def _pod(spec: ModelUpdateSpec, owner: Owner, revision: Revision) -> Manifest:
    pod = completed(spec.serving.template, "spec.serving.template")
    add_labels(pod, {**owner.labels(SERVING), **revision_labels(revision)}, lasting_annotations(revision))
    container = main_container(pod)
    add_environment(container, registry_variables(spec.registry), override=False)
    contract = [variable(PORT_VARIABLE, str(spec.serving.port)), variable("VIRIDIAN_BUNDLE_STORE", BUNDLE_DIR)]
    if revision.chain:
        contract += chain_variables(spec)
    add_environment(container, contract)
    credentials = spec.registry.credentials_secret_ref
    add_environment_from(container, credentials.name if credentials else None)
    _mount(pod, spec, owner, revision)
    _expose(container, spec.serving.port)
    _probe(container, spec)
    _stop_gently(pod)
    _spread(pod, owner)
    return pod


def _mount(pod: Manifest, spec: ModelUpdateSpec, owner: Owner, revision: Revision) -> None:
    files = [{"key": name, "path": name} for name in ("revision.json", "golden.json")]
    record = names.serves(revision.deployment) if revision.swappable else revision.deployment
    config = {"configMap": {"name": record, "items": files}}
    add_volume(pod, "viridian-revision", REVISION_DIR, config, read_only=True)
    token = {"secret": {"secretName": names.admin_secret(owner.name), "items": [{"key": "token", "path": "token"}]}}
    add_volume(pod, "viridian-admin", ADMIN_DIR, token, read_only=True)
    store = spec.serving.store
    claim = store.persistent_volume_claim.claim_name if store else None
    add_storage(pod, "viridian-bundles", BUNDLE_DIR, claim)
    chains = spec.online.store.persistent_volume_claim if spec.online and revision.chain else None
    if chains is not None:
        add_storage(pod, "viridian-store", CHAIN_STORE_DIR, chains.claim_name)


def _expose(container: Manifest, port: int) -> None:
    ports = container.get("ports") or []
    if not any(entry.get("containerPort") == port for entry in ports):
        container["ports"] = [*ports, {"name": "viridian-http", "containerPort": port}]


def _probe(container: Manifest, spec: ModelUpdateSpec) -> None:
    """Probes where the template sets none; images without the v2 protocol bring their own."""
    load = int(spec.rollout.deadlines.load.total_seconds())
    ready = {"httpGet": {"path": "/v2/health/ready", "port": spec.serving.port}, "timeoutSeconds": 2}
    live = {"httpGet": {"path": "/v2/health/live", "port": spec.serving.port}, "timeoutSeconds": 5}
    defaults = {
        # until it has loaded, so that the liveness probe does not end a slow load
        "startupProbe": {**ready, "periodSeconds": 1, "failureThreshold": max(load, 30)},
        "readinessProbe": {**ready, "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**live, "periodSeconds": 10, "failureThreshold": 3},
    }
    for name, probe in defaults.items():
        if container.get(name) is None:
            container[name] = probe


def _stop_gently(pod: Manifest) -> None:
    """Go on serving until every node has taken the pod out of its rules."""
    lifecycle = section(main_container(pod), "lifecycle")
    if lifecycle.get("preStop") is None:
        lifecycle["preStop"] = {"sleep": {"seconds": PRESTOP_SECONDS}}
    if pod["spec"].get("terminationGracePeriodSeconds") is None:
        pod["spec"]["terminationGracePeriodSeconds"] = GRACE_SECONDS


def _spread(pod: Manifest, owner: Owner) -> None:
    if pod["spec"].get("topologySpreadConstraints") is not None:
        return
    pod["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {names.MODEL_UPDATE: owner.name}},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]
