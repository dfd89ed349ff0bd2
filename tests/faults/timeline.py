"""Everything that happened to the objects of a namespace, in the order in which the API server made it happen."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from faults.threads import ThreadedServer
from faults.upstream import read_upstream

Object = dict[str, Any]
PATHS = {
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "ModelUpdate": "/apis/viridian.dev/v1alpha1/namespaces/{}/modelupdates",
}


@dataclass(frozen=True)
class Change:
    """One event of a watch; ``version`` orders the events of all kinds, as they come from one etcd."""

    version: int
    type: str
    kind: str
    object: Object
    moment: float

    @property
    def name(self) -> str:
        """Of the object."""
        return str(self.object["metadata"]["name"])


class Timeline(ThreadedServer):
    """Watches a namespace directly, not through the proxy."""

    def __init__(self, kubeconfig: Path, namespace: str, scratch: Path) -> None:
        super().__init__()
        self._upstream, self._namespace = read_upstream(kubeconfig, scratch), namespace
        self._news = threading.Condition()
        self._changes: list[Change] = []
        self._now: dict[tuple[str, str], Object] = {}
        self._versions: dict[str, str] = {}
        self._broken: BaseException | None = None

    def since(self, version: int = 0) -> list[Change]:
        """Changes after ``version`` in their true order."""
        with self._news:
            found = [change for change in self._changes if change.version > version]
        return sorted(found, key=lambda change: change.version)

    @property
    def version(self) -> int:
        """The newest version seen."""
        with self._news:
            return max((change.version for change in self._changes), default=0)

    def get(self, kind: str, name: str) -> Object | None:
        """The newest state of an object; None if there is none."""
        with self._news:
            return self._now.get((kind, name))

    def list(self, kind: str, **labels: str) -> list[Object]:
        """The newest states of all objects of a kind with these labels."""
        with self._news:
            found = [obj for (each, _), obj in self._now.items() if each == kind]
        return [obj for obj in found if labels.items() <= (obj["metadata"].get("labels") or {}).items()]

    def wait[T](self, look: Callable[[], T], seconds: float, what: str) -> T:
        """The first truthy answer of ``look``, asked anew at every change."""
        deadline = time.monotonic() + seconds
        while True:
            with self._news:
                seen = len(self._changes)
            assert self._broken is None, f"a watch ended: {self._broken!r}"
            if found := look():
                return found
            with self._news:
                left = deadline - time.monotonic()
                news = self._news.wait_for(lambda: self._broken or len(self._changes) > seen, left)  # noqa: B023
            assert news, f"not within {seconds:.0f} s: {what}"

    async def _serve(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._upstream.context)
        async with aiohttp.ClientSession(
            self._upstream.url, connector=connector, headers=self._upstream.headers, read_bufsize=2**21
        ) as self._session:
            for kind in PATHS:  # one that cannot be listed is a failed start, not a kind of which nothing is ever seen
                await self._list(kind)
            watches = [asyncio.create_task(self._follow(kind)) for kind in PATHS]
            for watch in watches:
                watch.add_done_callback(self._ended)
            self._ready.set()
            await self._stop.wait()
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    def _ended(self, watch: asyncio.Task[None]) -> None:
        """What is no longer watched must not look as if nothing happened."""
        if not watch.cancelled():
            with self._news:
                self._broken = watch.exception()
                self._news.notify_all()

    async def _list(self, kind: str) -> None:
        async with self._session.get(PATHS[kind].format(self._namespace), raise_for_status=True) as answer:
            listed = await answer.json()
        self._versions[kind] = listed["metadata"]["resourceVersion"]
        for item in listed["items"]:
            self._add("ADDED", kind, item)

    async def _follow(self, kind: str) -> None:
        while True:
            try:
                await self._watch(kind)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)  # goes on from the newest version that was seen

    async def _watch(self, kind: str) -> None:
        query = {"watch": "true", "resourceVersion": self._versions[kind], "allowWatchBookmarks": "true"}
        url, forever = PATHS[kind].format(self._namespace), aiohttp.ClientTimeout()
        async with self._session.get(url, params=query, timeout=forever) as stream:
            async for line in stream.content:
                event = json.loads(line)
                if event.get("type") not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
                    break  # what follows that version is gone
                self._versions[kind] = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._add(event["type"], kind, event["object"])
            else:
                return
        await self._list(kind)

    def _add(self, what: str, kind: str, obj: Object) -> None:
        version = int(obj["metadata"]["resourceVersion"])
        change = Change(version, what, kind, obj, time.time())
        with self._news:
            self._changes.append(change)
            if what == "DELETED":
                self._now.pop((kind, change.name), None)
            else:
                self._now[kind, change.name] = obj
            self._news.notify_all()
