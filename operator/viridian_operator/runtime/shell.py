"""The kopf shell: watches, and nothing else. Every event becomes the key of a ModelUpdate.

Only ``on.event`` handlers are used: with them kopf writes neither annotations nor finalizers to any
object, keeps no state, and never holds a decision. This is the one module that imports kopf.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import kopf
from kubernetes.aio import client

from viridian_operator.api import base, names
from viridian_operator.kube.access import authorization, ssl_context
from viridian_operator.kube.cluster import USER_AGENT
from viridian_operator.kube.resources import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    JOB,
    MODEL_UPDATE,
    POD,
    SERVICE,
    Key,
    Resource,
)

CHILDREN = (JOB, DEPLOYMENT, SERVICE, POD, ENDPOINT_SLICE)
OURS = f"{names.MANAGED_BY}={names.MANAGER}"


def parent_of(body: Mapping[str, Any]) -> Key | None:
    """The ModelUpdate that an object belongs to, by our label or its controlling owner."""
    metadata = body.get("metadata") or {}
    namespace = str(metadata.get("namespace") or "")
    if name := (metadata.get("labels") or {}).get(names.MODEL_UPDATE):
        return Key(namespace, str(name))
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("kind") == base.KIND and str(owner.get("apiVersion")).startswith(f"{base.GROUP}/"):
            return Key(namespace, str(owner["name"]))
    return None


class Shell:
    """Runs kopf.

    Parameters
    ----------
    access
        The API server and our credentials, shared with our own client.
    namespaces
        Namespaces to watch; none means all of them.
    enqueue
        Called with the key of every ModelUpdate that something happened to.
    take_signals
        Called when kopf has put its signal handlers in place, to put back others.
    """

    def __init__(
        self,
        access: client.Configuration,
        *,
        namespaces: tuple[str, ...],
        enqueue: Callable[[Key], None],
        take_signals: Callable[[], None],
    ) -> None:
        self._access, self._namespaces, self._enqueue = access, namespaces, enqueue
        self._take_signals = take_signals
        self._stop = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self) -> None:
        """Watch until ``stop`` is called.

        kopf treats every task that is created after its start as its own and waits for it at the end, so
        long-lived tasks must exist before.

        Raises
        ------
        Exception
            Whatever ended a watch for good; the process should end, too.
        """
        before = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=self._registry(),
            settings=self._settings(),
            standalone=True,
            # only for peering, which is off; kopf's default fails where the user ID has no name, as in containers
            identity=names.MANAGER,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
        )
        # kopf takes the process's signals. It is stopped by its flag alone: with a signal beside the flag
        # it waits 5 s for a task of its own.
        self._take_signals()
        await kopf.run_tasks(tasks, ignored=before)

    def stop(self) -> None:
        """End ``run``."""
        self._stop.set()

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.queueing.idle_timeout = 1.0
        # Long enough for an API server that restarts; then the process ends and is started anew.
        settings.networking.error_backoffs = (0.2, 0.5, 1, 1, 2, 2, 3, 5, 5, 10, 10, 10, 10)
        settings.networking.connect_timeout = 5.0
        settings.networking.request_timeout = 60.0
        settings.watching.server_timeout = 290
        settings.watching.chunk_size = 500
        for child in CHILDREN:
            settings.watching.label_selectors[_selector(child)] = OURS
        return settings

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.event(*_selector(MODEL_UPDATE), id="model-update", registry=registry)(self._on_model_update)
        for child in CHILDREN:
            kopf.on.event(*_selector(child), id=f"child-{child.plural}", registry=registry)(self._on_child)
        kopf.on.login(id="login", registry=registry)(self._login)
        kopf.on.startup(id="startup", registry=registry)(self._on_startup)
        return registry

    async def _on_model_update(self, namespace: str, name: str, **_: Any) -> None:
        self._enqueue(Key(namespace, name))

    async def _on_child(self, body: Mapping[str, Any], **_: Any) -> None:
        if (key := parent_of(body)) is not None:
            self._enqueue(key)

    async def _on_startup(self, **_: Any) -> None:
        self.started.set()

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        """A session with our TLS settings and always the present token."""
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=ssl_context(self._access)),
            headers={"User-Agent": USER_AGENT},
            middlewares=[self._authorize],
            proxy=self._access.proxy,
            trust_env=True,
            read_bufsize=2**21,
        )
        return kopf.AiohttpSession(server=self._access.host, aiohttp_session=session)

    async def _authorize(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if (value := await authorization(self._access)) is not None:
            request.headers["Authorization"] = value
        return await handler(request)


def _selector(resource: Resource) -> tuple[str, str, str]:
    version = resource.api_version.rpartition("/")[2]
    return resource.group, version, resource.plural
