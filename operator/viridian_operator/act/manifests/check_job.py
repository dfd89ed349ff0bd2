"""Jobs of health checks: one pod of the user's, which says by its exit code what it thinks of the new revision."""

from __future__ import annotations

from viridian_operator.act.manifests.environment import check_variables, traceparent
from viridian_operator.act.manifests.job import failure_rules, run_once, take_queue_labels
from viridian_operator.act.manifests.owner import CHECK, Owner
from viridian_operator.act.manifests.pod import (
    InvalidTemplate,
    add_environment,
    add_labels,
    completed,
    main_container,
)
from viridian_operator.api import names
from viridian_operator.api.health import CheckJob
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.check_jobs import TASK
from viridian_operator.decide.decision import CreateCheckJob
from viridian_operator.kube.resources import Manifest


def check_job(spec: ModelUpdateSpec, owner: Owner, action: CreateCheckJob) -> Manifest:
    """The Job of a check.

    Raises
    ------
    InvalidTemplate
        If its template has no container.
    """
    wanted = _wanted(spec, action)
    labels = _labels(action)
    pod = _pod(spec, owner, action, wanted)
    queue = take_queue_labels(pod)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owner.metadata(
            names.check_job(owner.name, action.check, action.update.number),
            CHECK,
            labels={**queue, **labels},
            annotations={names.CHECK: action.check, names.ANNOTATION_DIGEST: action.revision.digest},
        ),
        "spec": {
            "completions": 1,
            "parallelism": 1,
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(wanted.deadline.total_seconds()),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": failure_rules(main_container(pod)["name"])},
            "template": pod,
        },
    }


def _wanted(spec: ModelUpdateSpec, action: CreateCheckJob) -> CheckJob:
    found = next((check.job for check in spec.rollout.health_checks if check.name == action.check), None)
    if found is None:
        raise InvalidTemplate(f"health check {action.check} has no job")
    return found


def _pod(spec: ModelUpdateSpec, owner: Owner, action: CreateCheckJob, wanted: CheckJob) -> Manifest:
    pod = completed(wanted.template, f"template of health check {action.check}")
    add_labels(pod, {**owner.labels(CHECK), **_labels(action)}, {})
    # a label of a revision would put the pod behind a Service
    pod["metadata"]["labels"].pop(names.REVISION, None)
    pod["spec"]["automountServiceAccountToken"] = False
    run_once(pod)
    add_environment(
        main_container(pod), [traceparent(owner, action.update.number), *check_variables(spec, owner, action)]
    )
    return pod


def _labels(action: CreateCheckJob) -> dict[str, str]:
    return {names.TASK: TASK, names.UPDATE: str(action.update.number), names.ATTEMPT: "1"}
