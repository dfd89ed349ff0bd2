"""The Deployment of the drift monitor: one pod that follows the event log and asks the active Service."""

from __future__ import annotations

from viridian_operator.act.manifests.environment import monitor_variables
from viridian_operator.act.manifests.owner import DRIFT, Owner
from viridian_operator.act.manifests.pod import (
    InvalidTemplate,
    add_environment,
    add_labels,
    completed,
    main_container,
)
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.kube.resources import Manifest


def monitor(spec: ModelUpdateSpec, owner: Owner) -> Manifest:
    """The Deployment; two monitors at once would count events twice, so the old pod ends first.

    Raises
    ------
    InvalidTemplate
        If there is no template, or it has no container.
    """
    if spec.trigger.drift is None:
        raise InvalidTemplate("spec.trigger.drift.template is needed for a drift monitor")
    pod = completed(spec.trigger.drift.template, "spec.trigger.drift.template")
    add_labels(pod, owner.labels(DRIFT), {})
    add_environment(main_container(pod), monitor_variables(spec, owner))
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owner.metadata(names.drift_monitor(owner.name), DRIFT),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {names.MODEL_UPDATE: owner.name, names.COMPONENT: DRIFT}},
            "strategy": {"type": "Recreate"},
            "revisionHistoryLimit": 0,
            "template": pod,
        },
    }
