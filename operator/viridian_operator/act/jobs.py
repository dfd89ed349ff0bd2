"""Effects on training, evaluation and check Jobs."""

from __future__ import annotations

from viridian_operator.act.children import Children
from viridian_operator.act.errors import NameTaken
from viridian_operator.act.manifests.check_job import check_job
from viridian_operator.act.manifests.job import headless_service, job
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import CreateCheckJob, CreateJob, DeleteJob
from viridian_operator.kube.errors import AlreadyExists
from viridian_operator.kube.resources import JOB, SERVICE, Manifest


async def create_job(children: Children, spec: ModelUpdateSpec, owner: Owner, action: CreateJob) -> None:
    """Create the Job of an attempt; one that exists is the one that an earlier pass created.

    The names of a gang come first: a Job that is seen is never created again, so nothing may come after it.
    """
    if (names := headless_service(spec, owner, action)) is not None:
        await children.ensure(names)
    await _create(children, job(spec, owner, action))


async def create_check_job(children: Children, spec: ModelUpdateSpec, owner: Owner, action: CreateCheckJob) -> None:
    """Create the Job of a health check, once in a bake."""
    await _create(children, check_job(spec, owner, action))


async def _create(children: Children, manifest: Manifest) -> None:
    try:
        await children.create(manifest)
    except AlreadyExists:
        name = manifest["metadata"]["name"]
        live = await children.read(JOB, name)
        if live is not None and not children.owns(live):
            raise NameTaken(JOB.kind, name) from None


async def delete_job(children: Children, action: DeleteJob) -> None:
    """Delete a Job with its pods, and the names of its gang."""
    if any(service["metadata"]["name"] == action.name for service in children.seen(SERVICE)):
        await children.delete(SERVICE, action.name)
    await children.delete(JOB, action.name)
