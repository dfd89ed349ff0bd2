"""Effects on the online trainer."""

from __future__ import annotations

from viridian_operator.act.children import Children
from viridian_operator.act.manifests.online_trainer import online_trainer
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import EnsureOnlineTrainer
from viridian_operator.kube.resources import DEPLOYMENT


async def ensure_online_trainer(
    children: Children, spec: ModelUpdateSpec, owner: Owner, action: EnsureOnlineTrainer
) -> None:
    """The Deployment is as the spec says."""
    await children.ensure(online_trainer(spec, owner, action))


async def delete_online_trainer(children: Children, owner: Owner) -> None:
    """The Deployment is gone."""
    await children.delete(DEPLOYMENT, names.online_trainer(owner.name))
