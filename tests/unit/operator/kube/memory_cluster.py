"""A few objects in memory with the API server's rules for resourceVersion; for tests of timing only."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

from viridian_operator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from viridian_operator.kube.resources import Manifest, Resource, resource_of


class MemoryCluster:
    """Objects by kind, namespace and name; ``error`` set makes every call fail with it."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Manifest] = {}
        self.error: ApiError | None = None
        self._versions = itertools.count(1)

    def _write(self, obj: Mapping[str, Any]) -> Manifest:
        stored = copy.deepcopy(dict(obj))
        stored["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[self._id(obj)] = stored
        return copy.deepcopy(stored)

    def _id(self, obj: Mapping[str, Any]) -> tuple[str, str, str]:
        return resource_of(obj).kind, obj["metadata"]["namespace"], obj["metadata"]["name"]

    def _fail(self) -> None:
        if self.error:
            raise self.error

    async def get(self, kind: Resource, namespace: str, name: str) -> Manifest:
        self._fail()
        try:
            return copy.deepcopy(self.objects[kind.kind, namespace, name])
        except KeyError:
            raise NotFound(f"{kind.plural} {name} not found", code=404) from None

    async def create(self, obj: Manifest) -> Manifest:
        self._fail()
        if self._id(obj) in self.objects:
            raise AlreadyExists("exists", code=409)
        return self._write(obj)

    async def replace(self, obj: Manifest) -> Manifest:
        self._fail()
        old = self.objects[self._id(obj)]
        if old["metadata"]["resourceVersion"] != obj["metadata"].get("resourceVersion"):
            raise Conflict("modified", code=409)
        return self._write(obj)

    async def patch(self, kind: Resource, namespace: str, name: str, merge_body: Mapping[str, Any]) -> Manifest:
        return self._write(await self.get(kind, namespace, name) | dict(merge_body))
