"""Slots for trainings: never more than the limit, oldest first, counted anew by a new leader."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from viridian_operator.api.status import Attempts, Kind, ModelUpdateStatus, Phase, Trigger, Update
from viridian_operator.kube.errors import Unavailable
from viridian_operator.kube.resources import Key
from viridian_operator.runtime.slots import TrainingSlots

START = datetime(2026, 1, 1, tzinfo=UTC)
A, B, C = (Key("recsys", name) for name in "abc")


class Jobs:
    """A cluster that lists Jobs."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.lists: list[str | None] = []
        self.error: Exception | None = None

    async def list(self, _kind: Any, namespace: str | None, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        assert labels["app.kubernetes.io/component"] == "training"
        if self.error:
            raise self.error
        self.lists.append(namespace)
        return self.items

    def run(self, key: Key, condition: str = "") -> None:
        """A training Job, ended if a condition is given."""
        meta = {"namespace": key.namespace, "labels": {"viridian.dev/model-update": key.name}}
        conditions = [{"type": condition, "status": "True"}] if condition else []
        self.items.append({"metadata": meta, "status": {"conditions": conditions}})


def status(phase: Phase, *, waited: int = 0, seen: bool = False) -> ModelUpdateStatus:
    since = START - timedelta(seconds=waited)
    update = Update(
        number=1,
        kind=Kind.FULL,
        trigger=Trigger(kind="test", at=START),
        phase=phase,
        started_at=since,
        phase_since=since,
        attempts=Attempts(seen=seen),
    )
    return ModelUpdateStatus(update=update)


class Setting:
    """Slots with a limit, the Jobs they count and whom they woke."""

    def __init__(self, limit: int, *namespaces: str) -> None:
        self.jobs, self.woken = Jobs(), list[Key]()
        cluster: Any = self.jobs
        self.slots = TrainingSlots(cluster, limit, namespaces, self.woken.append)

    async def granted(self, key: Key, current: ModelUpdateStatus) -> bool:
        return (await self.slots.ask(key, current)).granted


async def test_without_a_limit_everybody_trains_and_nothing_is_asked() -> None:
    setting = Setting(0)
    assert all([await setting.granted(key, status(Phase.QUEUED)) for key in (A, B, C)])
    assert setting.jobs.lists == []


async def test_never_more_than_the_limit_and_the_oldest_next() -> None:
    setting = Setting(1)
    assert await setting.granted(A, status(Phase.QUEUED))
    assert not await setting.granted(B, status(Phase.QUEUED, waited=5))
    assert not await setting.granted(C, status(Phase.QUEUED, waited=50))
    assert (await setting.slots.ask(B, status(Phase.QUEUED, waited=5))).ahead == 1
    setting.slots.settle(A, status(Phase.EVALUATING))
    assert setting.woken == [C]
    assert not await setting.granted(B, status(Phase.QUEUED, waited=5))
    assert await setting.granted(C, status(Phase.QUEUED, waited=50))
    assert setting.jobs.lists == [None]


async def test_another_attempt_keeps_the_slot() -> None:
    setting = Setting(1)
    assert await setting.granted(A, status(Phase.QUEUED))
    assert await setting.granted(A, status(Phase.TRAINING, seen=True))
    assert await setting.granted(A, status(Phase.QUEUED))
    assert not await setting.granted(B, status(Phase.QUEUED, waited=500))


@pytest.mark.parametrize("gone", [True, False])
async def test_who_ends_or_is_deleted_gives_way(gone: bool) -> None:
    setting = Setting(1)
    await setting.granted(A, status(Phase.QUEUED))
    await setting.granted(B, status(Phase.QUEUED))
    if gone:
        setting.slots.forget(A)
    else:
        await setting.slots.ask(A, ModelUpdateStatus())
    assert setting.woken == [B]
    assert await setting.granted(B, status(Phase.QUEUED))


async def test_a_new_leader_counts_what_runs_already() -> None:
    setting = Setting(2, "recsys", "ads")
    setting.jobs.run(A)
    setting.jobs.run(C, "Failed")
    assert await setting.granted(B, status(Phase.QUEUED))
    assert not await setting.granted(C, status(Phase.QUEUED))
    assert await setting.granted(A, status(Phase.TRAINING, seen=True))
    assert setting.jobs.lists == ["recsys", "ads"]
    assert setting.woken == [A], "a ModelUpdate that is gone would hold its slot for ever"


async def test_nothing_is_granted_while_jobs_cannot_be_counted() -> None:
    setting = Setting(1)
    setting.jobs.error = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await setting.slots.ask(A, status(Phase.QUEUED))
    setting.jobs.error = None
    setting.jobs.run(B)
    assert not await setting.granted(A, status(Phase.QUEUED))
