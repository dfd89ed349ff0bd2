"""Effects on the drift monitor."""

from __future__ import annotations

from viridian_operator.act.children import Children
from viridian_operator.act.manifests.monitor import monitor
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api.names import drift_monitor
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.kube.resources import DEPLOYMENT


async def ensure_monitor(children: Children, spec: ModelUpdateSpec, owner: Owner) -> None:
    """The Deployment is as the spec says."""
    await children.ensure(monitor(spec, owner))


async def delete_monitor(children: Children, owner: Owner) -> None:
    """The Deployment is gone."""
    await children.delete(DEPLOYMENT, drift_monitor(owner.name))
