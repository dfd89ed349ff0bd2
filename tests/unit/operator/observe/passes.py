"""A reconciler over objects in memory, for tests of whole passes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from applying_cluster import ApplyingCluster

from viridian_operator.api.status import ModelUpdateStatus, read_status
from viridian_operator.kube.events import EventRecorder
from viridian_operator.kube.resources import Key, ObjectRef
from viridian_operator.runtime.metrics import Metrics
from viridian_operator.runtime.reconcile import Reconciler
from viridian_operator.runtime.settings import Settings
from viridian_operator.sources.poller import HeadsPoller

KEY = Key("recsys", "ctr")


class StatusCluster(ApplyingCluster):
    """Keeps status, too, and counts what is read."""

    reads = 0

    async def replace_status(self, ref: ObjectRef, status: dict[str, Any], _version: str) -> None:
        self.objects["ModelUpdate", ref.name]["status"] = status

    async def get(self, *arguments: Any) -> Any:
        self.reads += 1
        return await super().get(*arguments)

    async def list(self, *arguments: Any, **more: Any) -> Any:
        self.reads += 1
        return await super().list(*arguments, **more)

    @property
    def status(self) -> ModelUpdateStatus:
        """Of the ModelUpdate of ``KEY``."""
        return read_status(self.objects["ModelUpdate", "ctr"].get("status"))


def reconciler(cluster: StatusCluster, wake: Callable[[Key], None]) -> Reconciler:
    """One that tells ``wake`` what has news."""
    return Reconciler(
        cluster=cluster,  # type: ignore[arg-type]
        recorder=EventRecorder(cluster, instance="test"),  # type: ignore[arg-type]
        metrics=Metrics(),
        poller=HeadsPoller(wake),
        settings=Settings(),
        wake=wake,
    )
