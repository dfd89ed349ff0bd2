"""Effects on the Services and on the Secret of the admin calls."""

from __future__ import annotations

from viridian_operator.act.children import Children
from viridian_operator.act.errors import NameTaken
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.secret import admin_secret, new_token, token_of
from viridian_operator.act.manifests.service import service
from viridian_operator.api.children import serving_port
from viridian_operator.api.names import REVISION
from viridian_operator.api.names import admin_secret as secret_name
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import EnsureService
from viridian_operator.kube.resources import DEPLOYMENT, SECRET


async def ensure_service(children: Children, spec: ModelUpdateSpec, owner: Owner, action: EnsureService) -> None:
    """The Service selects the revision, at the port that this revision was rendered with."""
    await children.ensure(service(spec, owner, action, _port(children, spec, action.revision)))


def _port(children: Children, spec: ModelUpdateSpec, revision: str) -> int:
    for deployment in children.seen(DEPLOYMENT):
        if deployment["metadata"]["labels"].get(REVISION) == revision:
            return serving_port(deployment["spec"]["template"]["spec"], spec.serving.port)
    return spec.serving.port


async def ensure_admin_secret(children: Children, spec: ModelUpdateSpec, owner: Owner) -> None:
    """The Secret exists; a token that exists is kept, since pods may have read it."""
    live = await children.find(SECRET, secret_name(owner.name))
    if live is not None and not children.owns(live):
        raise NameTaken(SECRET.kind, secret_name(owner.name))
    token = token_of(live) if live else None
    await children.ensure(admin_secret(spec, owner, token or new_token()))
