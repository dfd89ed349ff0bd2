"""Runs the actions of a decision, in order; each of them may run any number of times."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import aiohttp

from viridian_operator.act.children import Children, Raw
from viridian_operator.act.errors import NameTaken, StillReferred
from viridian_operator.act.jobs import create_check_job, create_job, delete_job
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.act.manifests.pod import InvalidTemplate
from viridian_operator.act.monitoring import delete_monitor, ensure_monitor
from viridian_operator.act.online import delete_online_trainer, ensure_online_trainer
from viridian_operator.act.revisions import delete_revision, ensure_revision
from viridian_operator.act.services import ensure_admin_secret, ensure_service
from viridian_operator.act.telling import revert, tell
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.decide.decision import (
    Action,
    CreateCheckJob,
    CreateJob,
    DeleteJob,
    DeleteMonitor,
    DeleteOnlineTrainer,
    DeleteRevision,
    DeleteVersion,
    EnsureAdminSecret,
    EnsureMonitor,
    EnsureOnlineTrainer,
    EnsureRevision,
    EnsureService,
    FlipPods,
    Retire,
    RevertPods,
    SetAliases,
    StageVersion,
    TagVersion,
    UnstagePods,
)
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import ApiError
from viridian_operator.registry.errors import RegistryError
from viridian_operator.registry.mlflow import MlflowRegistry

#: Makes the client of the ModelUpdate's registry when it is needed; reads its credentials.
OpenRegistry = Callable[[], Awaitable[MlflowRegistry]]

#: After a failed one of these nothing is deleted in this pass. The others go on: the way back to a revision
#: that serves must not depend on what happens to the one that is left.
_TRAFFIC = (EnsureAdminSecret, EnsureRevision, EnsureService)


class Executor:
    """Brings the cluster and the registry to what was decided.

    Parameters
    ----------
    session
        For the admin calls of serving pods.
    """

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._session = session

    async def execute(
        self,
        actions: Iterable[Action],
        *,
        spec: ModelUpdateSpec,
        owner: Owner,
        raw: Raw,
        registry: OpenRegistry,
    ) -> list[str]:
        """Run ``actions``; returns what failed, one sentence each, empty if all succeeded.

        Raises
        ------
        NameTaken
            At the end, if an object that we need is not ours; ``failures`` holds all that failed.
        """
        run = _Run(Children(self._cluster, owner, raw), spec, owner, self._session, registry)
        failures: list[str] = []
        taken: NameTaken | None = None
        unsafe = False
        for action in actions:
            if unsafe and isinstance(action, DeleteRevision):
                failures.append(f"{_name(action)}: put off until the actions before it succeed")
                continue
            try:
                problems = await run.attempt(action)
            except NameTaken as error:
                taken, problems = taken or error, [str(error)]
            failures += [f"{_name(action)}: {problem}" for problem in problems]
            unsafe = unsafe or (bool(problems) and isinstance(action, _TRAFFIC))
        if taken is not None:
            taken.failures = tuple(failures)
            raise taken
        return failures


class _Run:
    """One pass."""

    def __init__(
        self,
        children: Children,
        spec: ModelUpdateSpec,
        owner: Owner,
        session: aiohttp.ClientSession,
        registry: OpenRegistry,
    ) -> None:
        self._children = children
        self._spec = spec
        self._owner = owner
        self._session = session
        self._registry = registry

    async def attempt(self, action: Action) -> list[str]:
        """Run one action; returns what went wrong."""
        try:
            return await self._run(action)
        except (ApiError, RegistryError) as error:
            return [f"{type(error).__name__}: {error.message}"]
        except (InvalidTemplate, StillReferred) as error:
            return [str(error)]

    async def _run(self, action: Action) -> list[str]:
        children, spec, owner = self._children, self._spec, self._owner
        match action:
            case EnsureAdminSecret():
                await ensure_admin_secret(children, spec, owner)
            case EnsureRevision():
                await ensure_revision(children, spec, owner, action)
            case EnsureService():
                await ensure_service(children, spec, owner, action)
            case DeleteRevision():
                await delete_revision(children, spec, owner, action)
            case CreateJob():
                await create_job(children, spec, owner, action)
            case CreateCheckJob():
                await create_check_job(children, spec, owner, action)
            case DeleteJob():
                await delete_job(children, action)
            case EnsureMonitor() | DeleteMonitor() | EnsureOnlineTrainer() | DeleteOnlineTrainer():
                await self._run_beside(action)
            case RevertPods():
                return await revert(children, owner, action, self._session, port=spec.serving.port)
            case Retire() | StageVersion() | FlipPods() | UnstagePods():
                return await tell(children, owner, action, self._session, port=spec.serving.port)
            case SetAliases() | TagVersion() | DeleteVersion():
                await self._register(action)
        return []

    async def _run_beside(
        self, action: EnsureMonitor | DeleteMonitor | EnsureOnlineTrainer | DeleteOnlineTrainer
    ) -> None:
        """What runs all the time beside what serves."""
        children, spec, owner = self._children, self._spec, self._owner
        match action:
            case EnsureMonitor():
                await ensure_monitor(children, spec, owner)
            case DeleteMonitor():
                await delete_monitor(children, owner)
            case EnsureOnlineTrainer():
                await ensure_online_trainer(children, spec, owner, action)
            case DeleteOnlineTrainer():
                await delete_online_trainer(children, owner)

    async def _register(self, action: SetAliases | TagVersion | DeleteVersion) -> None:
        registry, model = await self._registry(), self._spec.model.name
        if isinstance(action, DeleteVersion):
            await registry.delete_version(model, action.version)
            return
        if isinstance(action, TagVersion):
            await registry.set_version_tag(model, action.version, action.key, action.value)
            return
        for alias, version in action.wanted:
            await registry.set_alias(model, alias, version)


def _name(action: Action) -> str:
    """The action as a person reads it."""
    match action:
        case EnsureRevision(revision=revision):
            return f"EnsureRevision {revision.deployment}"
        case EnsureService(name=name) | DeleteJob(name=name):
            return f"{type(action).__name__} {name}"
        case DeleteRevision(deployment=deployment):
            return f"DeleteRevision {deployment}"
        case CreateJob(task=task, update=update):
            return f"CreateJob {task} {update.number}"
        case CreateCheckJob(check=check, update=update):
            return f"CreateCheckJob {check} {update.number}"
        case TagVersion(version=version, key=key):
            return f"TagVersion {version} {key}"
        case DeleteVersion(version=version):
            return f"DeleteVersion {version}"
        case _:
            return type(action).__name__
