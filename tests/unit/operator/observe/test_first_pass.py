"""What a new process looks at in its first pass."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from applying_cluster import body, spec
from passes import KEY, StatusCluster, reconciler

from viridian_operator.api.status import Aliases, ModelUpdateStatus, Phase
from viridian_operator.runtime import reconcile


class MovedAlias:
    """A registry in which somebody moved the alias."""

    async def aliases(self, _model: str) -> dict[str, str]:
        return {"champion": "1"}


async def first_pass(monkeypatch: pytest.MonkeyPatch, status: dict[str, Any]) -> StatusCluster:
    """Of a ModelUpdate that has nothing to do, with the status that somebody else wrote."""
    followed = {"strategy": "Registry", "follow": {"alias": "challenger"}, "data": None, "training": None}
    meta = {"metadata": body()["metadata"] | {"resourceVersion": "1"}}
    cluster = StatusCluster()
    cluster.put({**body(), **meta, "spec": spec(**followed, suspend=True).wire(), "status": status})
    made = reconciler(cluster, lambda _key: None)

    async def registry(_subject: object) -> MovedAlias:
        return MovedAlias()

    monkeypatch.setattr(made, "_registry", registry)
    await made(KEY)
    await made.aclose()
    return cluster


@pytest.mark.parametrize("uptime", [5.0, 1e6], ids=["machine-just-started", "machine-up-for-long"])
async def test_a_new_process_looks_for_moved_aliases_at_once(monkeypatch: pytest.MonkeyPatch, uptime: float) -> None:
    monkeypatch.setattr(reconcile, "time", SimpleNamespace(monotonic=lambda: uptime))
    status = ModelUpdateStatus(aliases=Aliases(wanted={"champion": "2"}, confirmed=True))
    cluster = await first_pass(monkeypatch, status.wire())
    assert cluster.status.aliases.foreign == {"champion": "1"}


async def test_a_status_of_a_newer_release_that_cannot_be_read_is_a_lost_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot tell what was under way begins with what serves, see ``recover``."""
    cluster = await first_pass(monkeypatch, {"phase": "Simmering", "sinceFull": 7})
    assert (cluster.status.phase, cluster.status.since_full) == (Phase.IDLE, 0)
