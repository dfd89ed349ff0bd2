"""The Deployment of the online trainer: one pod that follows the event log and writes a chain of the store."""

from __future__ import annotations

from viridian_operator.act.manifests.environment import (
    CHAIN_STORE_DIR,
    CHECKPOINT_DIR,
    online_variables,
    registry_variables,
)
from viridian_operator.act.manifests.job import GRACE_SECONDS, take_queue_labels
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.pod import (
    InvalidTemplate,
    add_environment,
    add_environment_from,
    add_labels,
    add_storage,
    completed,
    main_container,
)
from viridian_operator.api import names
from viridian_operator.api.children import ONLINE_PORT, ONLINE_TRAINER
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import EnsureOnlineTrainer
from viridian_operator.kube.resources import Manifest


def online_trainer(spec: ModelUpdateSpec, owner: Owner, action: EnsureOnlineTrainer) -> Manifest:
    """The Deployment; the old pod ends first, though two at once would only wait for each other's lease.

    Raises
    ------
    InvalidTemplate
        If there is no template, or it has no container.
    """
    if spec.online is None or spec.training is None:
        raise InvalidTemplate("spec.online and spec.training are needed for an online trainer")
    about = {names.ANNOTATION_CHAIN: action.chain}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(names.online_trainer(owner.name), ONLINE_TRAINER, annotations=about),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {names.MODEL_UPDATE: owner.name, names.COMPONENT: ONLINE_TRAINER}},
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "template": _pod(spec, owner, action),
        },
    }


def _pod(spec: ModelUpdateSpec, owner: Owner, action: EnsureOnlineTrainer) -> Manifest:
    own = spec.online.template if spec.online else None
    trained = spec.training.template if spec.training else {}
    where = "spec.online.template" if own is not None else "spec.training.template"
    pod = completed(own if own is not None else trained, where)
    add_labels(pod, owner.labels(ONLINE_TRAINER), {names.ANNOTATION_CHAIN: action.chain})
    take_queue_labels(pod)  # a queue would hold up what runs for good
    pod["spec"].pop("restartPolicy", None)
    if pod["spec"].get("terminationGracePeriodSeconds") is None:
        pod["spec"]["terminationGracePeriodSeconds"] = GRACE_SECONDS
    container = main_container(pod)
    add_environment(container, registry_variables(spec.registry), override=False)
    add_environment(container, online_variables(spec, owner, action))
    credentials = spec.registry.credentials_secret_ref
    add_environment_from(container, credentials.name if credentials else None)
    _keep(pod, spec)
    _probe(container)
    return pod


def _keep(pod: Manifest, spec: ModelUpdateSpec) -> None:
    """Checkpoints, and the store if it is a volume."""
    checkpoint = spec.training.checkpoint if spec.training else None
    claim = checkpoint.persistent_volume_claim.claim_name if checkpoint else None
    add_storage(pod, "viridian-checkpoint", CHECKPOINT_DIR, claim)
    store = spec.online.store.persistent_volume_claim if spec.online else None
    if store is not None:
        add_storage(pod, "viridian-store", CHAIN_STORE_DIR, store.claim_name)


def _probe(container: Manifest) -> None:
    """It hangs when it says nothing for long; a start that loads a large champion takes its time."""
    health = {"httpGet": {"path": "/healthz", "port": ONLINE_PORT}, "timeoutSeconds": 5}
    defaults = {
        "startupProbe": {**health, "periodSeconds": 2, "failureThreshold": 150},
        "readinessProbe": {**health, "periodSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 6},
    }
    for name, probe in defaults.items():
        if container.get(name) is None:
            container[name] = probe
    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
