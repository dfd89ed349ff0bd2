"""The Kubernetes API as the control plane needs it: plain dicts in, plain dicts out, typed errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from kubernetes.aio import client
from kubernetes.aio.dynamic import DynamicClient

from viridian_operator import __version__
from viridian_operator.api.names import FIELD_MANAGER
from viridian_operator.kube.errors import NotFound
from viridian_operator.kube.resources import Manifest, ObjectRef, Resource, resource_of
from viridian_operator.kube.transport import Call, RequestObserver, Transport, ignore_requests

Propagation = Literal["Background", "Foreground", "Orphan"]

USER_AGENT = f"viridian-operator/{__version__}"
_MANAGER = ("fieldManager", FIELD_MANAGER)


class Cluster(Protocol):
    """Reads are live; every method may raise any ``ApiError``, the docstrings name the telling ones."""

    async def get(self, kind: Resource, namespace: str, name: str) -> Manifest:
        """One object; ``NotFound`` if the API server says that there is none."""
        ...

    async def list(
        self, kind: Resource, namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        """All objects with these labels, in one call; ``namespace`` None means everywhere."""
        ...

    async def apply(self, obj: Manifest) -> Manifest:
        """Server-side apply as our field manager, taking fields over from others.

        ``Conflict`` if ``metadata`` holds a ``resourceVersion`` that is not the object's; ``Invalid`` if it
        holds a ``uid`` that is not.
        """
        ...

    async def openapi(self, kind: Resource) -> Manifest:
        """The OpenAPI v3 document of the group and version of ``kind``."""
        ...

    async def create(self, obj: Manifest) -> Manifest:
        """Create an object; ``AlreadyExists`` if there is one of that name."""
        ...

    async def replace(self, obj: Manifest) -> Manifest:
        """Write the whole object; ``Conflict`` if its ``resourceVersion`` is stale."""
        ...

    async def patch(self, kind: Resource, namespace: str, name: str, merge_body: Mapping[str, Any]) -> Manifest:
        """JSON merge patch."""
        ...

    async def delete(
        self,
        kind: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: Propagation = "Background",
    ) -> bool:
        """Ask for deletion; False if it was gone already, ``Conflict`` if its ``uid`` is another."""
        ...

    async def replace_status(self, ref: ObjectRef, status: Mapping[str, Any], resource_version: str) -> Manifest:
        """Make ``status`` the whole status, whoever wrote what is there: fields that it leaves out are removed.

        Server-side apply would leave what others wrote, e.g. what a restored backup brought back.

        ``Conflict`` if the object changed since ``resource_version``, or was deleted and made anew.
        """
        ...


class ApiCluster:
    """``Cluster`` over a ``Transport``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    def connect(
        cls,
        access: client.Configuration,
        *,
        timeout: float = 10.0,
        attempts: int = 4,
        observe: RequestObserver = ignore_requests,
    ) -> ApiCluster:
        """A client of the server that ``access`` names; see ``Transport`` for the parameters."""
        api = client.ApiClient(access)
        api.user_agent = USER_AGENT
        return cls(Transport(client=DynamicClient(api), timeout=timeout, attempts=attempts, observe=observe))

    def within(self, *, timeout: float, attempts: int = 1) -> ApiCluster:
        """The same connection with other limits."""
        return ApiCluster(self._transport.within(timeout=timeout, attempts=attempts))

    def fenced(self, fence: Callable[[], None]) -> ApiCluster:
        """The same connection with ``fence`` before every write; see ``Transport``."""
        return ApiCluster(self._transport.fenced(fence))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.client.client.close()

    async def get(self, kind: Resource, namespace: str, name: str) -> Manifest:
        """See ``Cluster``."""
        return await self._send("get", kind, "GET", kind.path(namespace, name))

    async def list(
        self, kind: Resource, namespace: str | None, labels: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        """See ``Cluster``; items carry ``apiVersion`` and ``kind`` like single objects."""
        selector = ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))
        query = (("labelSelector", selector),) if selector else ()
        answer = await self._send("list", kind, "GET", kind.path(namespace), query=query)
        return [{"apiVersion": kind.api_version, "kind": kind.kind, **item} for item in answer.get("items") or []]

    async def openapi(self, kind: Resource) -> Manifest:
        """See ``Cluster``."""
        return await self._send("get", kind, "GET", f"/openapi/v3/apis/{kind.api_version}")

    async def apply(self, obj: Manifest) -> Manifest:
        """See ``Cluster``."""
        ref = ObjectRef.of(obj)
        return await self._send(
            "apply",
            ref.resource,
            "PATCH",
            ref.resource.path(ref.namespace, ref.name),
            body=obj,
            content_type="application/apply-patch+yaml",
            query=(_MANAGER, ("force", "true")),
        )

    async def create(self, obj: Manifest) -> Manifest:
        """See ``Cluster``; not repeated after a lost reply, since the object may exist then."""
        kind = resource_of(obj)
        path = kind.path(obj["metadata"]["namespace"])
        return await self._send("create", kind, "POST", path, body=obj, query=(_MANAGER,), idempotent=False)

    async def replace(self, obj: Manifest) -> Manifest:
        """See ``Cluster``."""
        ref = ObjectRef.of(obj)
        path = ref.resource.path(ref.namespace, ref.name)
        return await self._send("update", ref.resource, "PUT", path, body=obj, query=(_MANAGER,))

    async def patch(self, kind: Resource, namespace: str, name: str, merge_body: Mapping[str, Any]) -> Manifest:
        """See ``Cluster``."""
        return await self._send(
            "patch",
            kind,
            "PATCH",
            kind.path(namespace, name),
            body=dict(merge_body),
            content_type="application/merge-patch+json",
            query=(_MANAGER,),
        )

    async def replace_status(self, ref: ObjectRef, status: Mapping[str, Any], resource_version: str) -> Manifest:
        """See ``Cluster``."""
        body = ref.manifest(uid=ref.uid, resourceVersion=resource_version) | {"status": dict(status)}
        path = ref.resource.path(ref.namespace, ref.name, "status")
        return await self._send("update", ref.resource, "PUT", path, body=body, query=(_MANAGER,))

    async def delete(
        self,
        kind: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: Propagation = "Background",
    ) -> bool:
        """See ``Cluster``."""
        options: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._send("delete", kind, "DELETE", kind.path(namespace, name), body=options)
        except NotFound:
            return False
        return True

    async def _send(self, verb: str, kind: Resource, method: str, path: str, **more: Any) -> Manifest:
        return await self._transport.send(Call(verb=verb, resource=kind, method=method, path=path, **more))
