"""Training and evaluation Jobs: one attempt each, one node or a gang of nodes.

Every failure fails the whole Job, and the operator makes the next attempt with its own budgets for
infrastructure and code. A replaced pod could not join a gang with static rendezvous again
(kubeflow/trainer#2000), and a pod that the Job controller replaces for free is bounded by nothing but time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from viridian_operator.act.manifests.environment import (
    CHECKPOINT_DIR,
    job_variables,
    registry_variables,
    traceparent,
)
from viridian_operator.act.manifests.owner import EVALUATION, TRAINING, Owner
from viridian_operator.act.manifests.pod import (
    InvalidTemplate,
    add_environment,
    add_environment_from,
    add_labels,
    add_storage,
    completed,
    main_container,
    variable,
)
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import CreateJob
from viridian_operator.decide.hashing import canonical_json
from viridian_operator.kube.resources import Manifest

RENDEZVOUS_PORT = 29500
GRACE_SECONDS = 120
KUEUE = "kueue.x-k8s.io/"
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def job_name(owner: Owner, action: CreateJob) -> str:
    """The name of the Job of this attempt, and of its headless Service."""
    return names.job(owner.name, action.task, action.update.number, action.update.attempts.number)


def nodes_of(spec: ModelUpdateSpec, action: CreateJob) -> int:
    """Pods of the Job; an evaluation has one."""
    return spec.training.nodes if spec.training and action.task == "train" else 1


def job(spec: ModelUpdateSpec, owner: Owner, action: CreateJob) -> Manifest:
    """The Job of one attempt.

    Raises
    ------
    InvalidTemplate
        If there is no template to run.
    """
    nodes, name = nodes_of(spec, action), job_name(owner, action)
    pod = _pod(spec, owner, action)
    queue = take_queue_labels(pod)
    processes = spec.training.processes_per_node if spec.training and action.task == "train" else 1
    if nodes * processes > 1:
        add_environment(main_container(pod), _layout(nodes, processes))
    if nodes > 1:
        _join(pod, name)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owner.metadata(
            name, _component(action), labels={**queue, **_labels(action)}, annotations=_annotations(action)
        ),
        "spec": {
            "completionMode": "Indexed",
            "completions": nodes,
            "parallelism": nodes,
            "backoffLimit": 0,
            "activeDeadlineSeconds": _active_deadline(spec, action),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules(main_container(pod)["name"])},
            "template": pod,
        },
    }


def headless_service(spec: ModelUpdateSpec, owner: Owner, action: CreateJob) -> Manifest | None:
    """Names of the pods of a gang for the rendezvous; None for a single node."""
    if nodes_of(spec, action) == 1:
        return None
    name = job_name(owner, action)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owner.metadata(name, _component(action), labels=_labels(action)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": name},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "targetPort": RENDEZVOUS_PORT}],
        },
    }


def _pod(spec: ModelUpdateSpec, owner: Owner, action: CreateJob) -> Manifest:
    template, where = _template(spec, action)
    pod = completed(template, where)
    add_labels(pod, {**owner.labels(_component(action)), **_labels(action)}, {})
    run_once(pod)
    if pod["spec"].get("terminationGracePeriodSeconds") is None:
        pod["spec"]["terminationGracePeriodSeconds"] = GRACE_SECONDS
    container = main_container(pod)
    defaults = [*registry_variables(spec.registry), traceparent(owner, action.update.number)]
    add_environment(container, defaults, override=False)
    add_environment(container, job_variables(spec, owner, action))
    credentials = spec.registry.credentials_secret_ref
    add_environment_from(container, credentials.name if credentials else None)
    add_storage(pod, "viridian-checkpoint", CHECKPOINT_DIR, _claim(spec, action))
    return pod


def _template(spec: ModelUpdateSpec, action: CreateJob) -> tuple[Mapping[str, Any], str]:
    if action.task != "train" and spec.evaluation.template is not None:
        return spec.evaluation.template, "spec.evaluation.template"
    if spec.training is None:
        raise InvalidTemplate("spec.evaluation.template is needed where spec.training is absent")
    return spec.training.template, "spec.training.template"


def _claim(spec: ModelUpdateSpec, action: CreateJob) -> str | None:
    if action.task != "train" or spec.training is None or spec.training.checkpoint is None:
        return None
    return spec.training.checkpoint.persistent_volume_claim.claim_name


def _active_deadline(spec: ModelUpdateSpec, action: CreateJob) -> int:
    """Backstop for an operator that is down: the clock of a Job runs while its pod is still pending, too."""
    deadlines = spec.evaluation.deadlines
    if action.task == "train" and spec.training is not None:
        return int((spec.training.deadlines.queued + spec.training.deadlines.running).total_seconds())
    return int((deadlines.queued + deadlines.running).total_seconds())


def run_once(pod: Manifest) -> None:
    """A pod that ends for good, with last words that outlive its log."""
    pod["spec"]["restartPolicy"] = "Never"
    container = main_container(pod)
    container["terminationMessagePath"] = "/dev/termination-log"
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"


def failure_rules(container: str) -> list[Manifest]:
    """Disruptions and exit codes end the Job at once; its condition then names which, also when the pod is gone."""
    return [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": container, "operator": "NotIn", "values": [0]}},
    ]


def _layout(nodes: int, processes: int) -> list[Manifest]:
    """Variables that torchrun reads, so that the user's command stays as it is."""
    return [variable("PET_NNODES", str(nodes)), variable("PET_NPROC_PER_NODE", str(processes))]


def _join(pod: Manifest, name: str) -> None:
    """Rendezvous of several pods, in variables that torchrun reads, too."""
    pod["spec"]["subdomain"] = name
    values = {"PET_MASTER_ADDR": f"{name}-0.{name}", "PET_MASTER_PORT": str(RENDEZVOUS_PORT)}
    rank = {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}
    add_environment(main_container(pod), [*(variable(key, value) for key, value in values.items()), rank])


def take_queue_labels(pod: Manifest) -> dict[str, str]:
    """Kueue's labels belong to the Job; on its pods they would queue each pod by itself."""
    labels = pod["metadata"]["labels"]
    return {key: labels.pop(key) for key in list(labels) if key.startswith(KUEUE)}


def _component(action: CreateJob) -> str:
    return TRAINING if action.task == "train" else EVALUATION


def _labels(action: CreateJob) -> dict[str, str]:
    return {
        names.TASK: action.task,
        names.UPDATE: str(action.update.number),
        names.ATTEMPT: str(action.update.attempts.number),
    }


def _annotations(action: CreateJob) -> dict[str, str]:
    return {
        names.ANNOTATION_WINDOW: canonical_json(action.window.wire()),
        names.ANNOTATION_PARENT: action.parent.digest if action.parent else "",
    }
