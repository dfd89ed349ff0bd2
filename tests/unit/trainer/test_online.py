"""The online trainer over folders: what it publishes, what stops it, and how it comes back."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from online_site import FIRST, WITNESS, Left, Site, root_of
from worlds import rows

from viridian_model.bundle import read_bundle
from viridian_model.canonical import canonical_json
from viridian_model.chain.change import Change, TableChange
from viridian_model.ids import FREED
from viridian_model.publication.links import fetch_manifest
from viridian_model.publication.publisher import Publisher
from viridian_model.publication.reverting import revert
from viridian_model.served import state_of
from viridian_trainer import registry as tags
from viridian_trainer.environment import OnlineInput, VersionRef, read_online
from viridian_trainer.errors import BadConfig, BadData, BadUsage, DataTrimmed
from viridian_trainer.online import branch as branching
from viridian_trainer.online import reader
from viridian_trainer.online.champion import Champion
from viridian_trainer.online.hygiene import Subject, failed_check
from viridian_trainer.spec import Online

Told = dict[str, Any]
#: Events that the champion was judged by, and the first that are trained on online.
HELD_OUT = FIRST // 10
WORSE = Online(publish_interval=0.02, anchor_every=3600, anchor_events=10**6, alpha=0.05)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(reader, "LIMIT", 50)  # many batches of few events
    return Site(tmp_path).found()


def flipped(first: int, count: int) -> list[dict[str, Any]]:
    """Events with the opposite of their label."""
    return [{**row, "label": 1 - row["label"]} for row in rows(first, count)]


def test_every_event_is_trained_on_published_and_predicted_before(site: Site) -> None:
    site.append(FIRST, 300)
    told = site.run(site.task(), site.caught_up)
    head = site.head
    assert head is not None
    assert (told["state"], told["lag"]["events"], told["reverts"]) == ("Publishing", 0, 0)
    assert (head.epoch, head.trained_to) == (1, site.log.heads())
    left = Left.by(site, site.task())
    assert root_of(left.branch_as_saved()) == head.root
    assert left.branch_as_saved().test.events == told["test"]["events"] == HELD_OUT + 300


def test_partial_deltas_bring_readers_to_everything_by_the_next_checkpoint(site: Site) -> None:
    partial = Online(publish_interval=0.02, anchor_every=3600, anchor_events=10**6, rows=0.2, dense_every=3)
    site.append(FIRST, 300)
    told = site.run(site.task(online=partial), site.caught_up)
    head = site.head
    assert head is not None
    assert told["published"]["deltas"] > 1
    left = Left.by(site, site.task(online=partial))
    assert root_of(left.branch_as_saved()) == head.root


def test_another_selection_goes_on_with_the_chain_that_is_there(site: Site) -> None:
    rounding = Online(publish_interval=0.02, anchor_every=3600, anchor_events=10**6, encoding="int8")
    site.append(FIRST, 100)
    site.run(site.task(online=rounding), site.caught_up)
    left, head = Left.by(site, site.task(online=rounding)), site.head
    assert head is not None
    assert root_of(left.branch_as_saved()) != head.root
    assert left.is_served(head)
    site.append(FIRST + 100, 100)
    site.run(site.task(), site.caught_up)
    head = site.head
    assert head is not None
    assert head.epoch == 1
    assert root_of(Left.by(site, site.task()).branch_as_saved()) == head.root


def test_the_status_is_served_with_metrics_of_both_models(site: Site) -> None:
    site.append(FIRST, 300)
    answers: dict[str, Any] = {}

    def until(told: Told) -> bool:
        if not site.caught_up(told):
            return False
        for path in ("/viridian/v1/online", "/metrics", "/healthz"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
                answers[path] = answer.read().decode()
        return True

    from redis_server import free_port

    port = free_port()
    site.run(site.task(port=port), until)
    told = json.loads(answers["/viridian/v1/online"])
    assert {"logloss", "auroc", "accuracy", "recall"} <= told["prequential"]["online"].keys()
    assert told["prequential"]["events"] == HELD_OUT + 300
    assert 'viridian_online_state{state="Publishing"} 1.0' in answers["/metrics"]
    assert 'viridian_online_prequential{metric="auroc",model="champion"}' in answers["/metrics"]
    assert answers["/healthz"] == "ok\n"


def anchored(events: int) -> Online:
    return Online(publish_interval=0.02, anchor_every=3600, anchor_events=events)


def test_an_anchor_that_passes_is_registered_and_the_chain_restarts_from_it(site: Site) -> None:
    site.append(FIRST, 400)
    task = site.task(online=anchored(200))
    told = site.run(task, lambda told: told.get("sequence", "") > "2" and site.caught_up(told), local=True)
    head = site.head
    assert head is not None
    assert head.anchor.version == "2"
    found = site.registry.version("ctr", "2")
    assert head.anchor.digest == found.tags[tags.DIGEST]
    assert found.tags[tags.KIND] == "Anchor"
    assert found.tags[tags.UPDATE].startswith("uid/online/1.")
    window = json.loads(found.tags[tags.WINDOW])
    assert window["from"] == json.loads(site.registry.version("ctr", "1").tags[tags.TRAINED_TO])
    assert head.epoch == 2
    assert told["state"] == "Publishing"
    assert root_of(Left.by(site, task).branch_as_saved()) == head.root


def test_every_chain_has_its_own_head_anchors_and_checkpoints_of_the_same_model(site: Site) -> None:
    site.append(FIRST, 300)
    first, second = (site.task(online=anchored(200), chain=chain) for chain in ("ctr-1", "ctr-2"))
    for task, version in ((first, "2"), (second, "3")):
        site.run(task, lambda told, version=version: site.caught_up(told) and told["anchor"]["version"] == version)
        found = site.registry.version("ctr", version)
        assert found.tags[tags.UPDATE].startswith(f"uid/online/{task.chain}/1.")
        head = site.head_of(task.chain)
        assert head is not None
        with site.store() as store:
            assert fetch_manifest(store, task.chain, head.chain[-1]).model == "ctr"
    assert site.head is None
    # back to the first one: it goes on where it stopped
    site.append(FIRST + 300, 50)
    before = site.head_of("ctr-2")
    told = site.run(first, site.caught_up)
    assert (told["sequence"][:2], told["anchor"]["version"]) == ("1.", "2")
    assert site.head_of("ctr-2") == before


def test_an_anchor_takes_the_rows_of_unused_ids_and_readers_hear_of_it(site: Site) -> None:
    site.append(FIRST, 300)
    task = site.task(online=anchored(200), config={**WITNESS, "eviction": {"maxRows": 60}})
    told = site.run(task, lambda told: site.caught_up(told) and told["anchor"]["version"] == "2")
    head, branch = site.head, Left.by(site, task).branch_as_saved()
    ids = state_of(branch.learner.model).tables["id"].ids
    assert (ids == FREED).sum() > 100
    assert head is not None
    assert head.root == root_of(branch)
    assert told["state"] == "Publishing"


def test_without_a_verdict_of_the_operator_an_anchor_changes_nothing(site: Site) -> None:
    site.append(FIRST, 300)
    task = site.task(online=anchored(200))
    site.run(task, lambda told: site.caught_up(told) and told["anchor"]["version"] == "2")
    assert site.head is not None
    assert site.head.epoch == 1
    again = site.run(task, lambda told: told["state"] == "Publishing" and told["anchor"]["version"] == "2")
    assert again["sequence"].startswith("1.")
    assert len(site.registry.versions("ctr")) == 2


def worse_after(monkeypatch: pytest.MonkeyPatch, events: int) -> None:
    """After so many events the first branch has the vectors of other users and items, whatever it learns."""
    train, broken = branching.Branch.train, {}

    def breaking(self: branching.Branch, entries: Any) -> None:
        train(self, entries)
        if self.learner.counts.trained < events or broken.setdefault("branch", self) is not self:
            return
        with torch.no_grad():
            for name, table in self.learner.model.embedding_tables().items():
                wrong = broken.setdefault(name, 2 * table.weight[: table.rows].flip(0))
                table.weight[: len(wrong)] = wrong
        self.touched.add_all()

    monkeypatch.setattr(branching.Branch, "train", breaking)


def test_worse_weights_are_stopped_reverted_and_come_back_by_an_anchor(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse_after(monkeypatch, 100)
    site.append(FIRST, 2000)
    task = site.task(online=WORSE)
    told = site.run(task, lambda told: told["state"] == "Shadow" and site.caught_up(told), local=True)
    head = site.head
    assert head is not None
    assert told["reverts"] == 1
    assert (head.epoch, head.n, head.chain) == (2, 0, ())
    assert "worse than the champion" in head.reason
    assert head.anchor.digest == task.parent.digest  # type: ignore[union-attr]
    left = Left.by(site, task)
    assert left.standing.shadow
    assert root_of(left.branch_as_saved()) == root_of(left.branch_without_disturbance())

    # a restart stays in the shadow, and an anchor leads out of it
    patient = replace(task, online=anchored(1))
    site.append(FIRST + 2000, 300)
    told = site.run(patient, lambda told: told["state"] == "Publishing" and told["sequence"] > "3", local=True)
    head = site.head
    assert head is not None
    assert head.anchor.version == "2"
    assert head.epoch == 3


def test_a_delta_that_is_not_sound_is_not_published(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    train, state = branching.Branch.train, {"broken": False}

    def breaking(self: branching.Branch, entries: Any) -> None:
        train(self, entries)
        if not state["broken"]:
            state["broken"] = True
            with torch.no_grad():
                next(iter(self.learner.model.embedding_tables().values())).weight[:] = torch.nan
            self.touched.add_all()

    monkeypatch.setattr(branching.Branch, "train", breaking)
    site.append(FIRST, 200)
    told = site.run(site.task(), lambda told: told["state"] == "Shadow" and site.caught_up(told))
    head = site.head
    assert head is not None
    assert "finite" in head.reason
    assert (head.epoch, head.n) == (2, 0)
    assert "finite" in told["error"]


@pytest.mark.parametrize("more", [50, 0])
def test_a_revert_by_somebody_else_is_followed_also_while_no_event_comes(site: Site, more: int) -> None:
    site.append(FIRST, 100)
    state = {"reverted": False}

    def until(told: Told) -> bool:
        if site.caught_up(told) and not state["reverted"]:
            state["reverted"] = True
            with site.store() as store:
                revert(store, "ctr", "anchor", "the on-call engineer says so")
            if more:
                site.append(FIRST + 100, more)
        return bool(told["state"] == "Shadow" and site.caught_up(told))

    told = site.run(site.task(), until)
    assert told["error"] == "the on-call engineer says so"
    head = site.head
    assert head is not None
    assert (head.epoch, head.n) == (2, 0)
    left = Left.by(site, site.task())
    assert root_of(left.branch_as_saved()) == root_of(left.branch_without_disturbance())


def test_without_its_checkpoint_a_trainer_catches_up_before_readers_follow_it(site: Site) -> None:
    site.append(FIRST, 200)
    site.run(site.task("a"), site.caught_up)
    before = site.head
    site.append(FIRST + 200, 100)
    site.run(site.task("b"), lambda told: told["state"] == "Publishing" and site.caught_up(told))
    head, left = site.head, Left.by(site, site.task("b"))
    assert before is not None
    assert head is not None
    assert (before.epoch, head.epoch, head.reason) == (1, 2, "")
    assert head.trained_to == site.log.heads()
    assert root_of(left.branch_as_saved()) == root_of(left.branch_without_disturbance()) == head.root


def test_another_writer_takes_over_and_the_first_one_is_fenced(site: Site) -> None:
    site.append(FIRST, 100)
    taken: list[int] = []

    def until(told: Told) -> bool:
        if site.caught_up(told) and not taken:
            with site.store() as store:
                other = Publisher(store, "ctr", "other", ttl=-4e9, clock=lambda: 4e9)  # ours has expired, and its own
                other.acquire()
                taken.append(other.token)
            site.append(FIRST + 100, 100)
        return bool(taken and told["token"] > taken[0] and site.caught_up(told) and told["state"] == "Publishing")

    site.run(site.task(), until)
    head, left = site.head, Left.by(site, site.task())
    assert head is not None
    assert head.epoch == 1  # the other one published nothing, so the chain goes on
    assert head.trained_to == site.log.heads()
    assert root_of(left.branch_without_disturbance()) == head.root


def test_of_two_trainers_one_publishes_and_the_other_takes_over_when_it_is_gone(site: Site) -> None:
    site.append(FIRST, 100)
    waited, taken = threading.Event(), threading.Event()

    def first_until(told: Told) -> bool:
        return waited.is_set() and site.caught_up(told)

    def second_until(told: Told) -> bool:
        if told["state"] == "Starting" and "holds the lease" in (told["error"] or ""):
            waited.set()
        if told["state"] == "Publishing" and not taken.is_set():
            taken.set()
            site.append(FIRST + 100, 50)
        return bool(taken.is_set() and told["state"] == "Publishing" and site.caught_up(told))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(site.run, site.task("a"), first_until, lease=10.0)
        until = time.monotonic() + 60
        while site.head is None and time.monotonic() < until:
            time.sleep(0.05)
        second = pool.submit(site.run, site.task("b"), second_until, lease=10.0)
        first.result()
        told = second.result()
    head, left = site.head, Left.by(site, site.task("b"))
    assert head is not None
    assert (head.epoch, head.token) == (2, told["token"])
    assert head.trained_to == site.log.heads()
    assert root_of(left.branch_as_saved()) == root_of(left.branch_without_disturbance()) == head.root


def test_one_folder_of_checkpoints_belongs_to_one_process(site: Site) -> None:
    def until(told: Told) -> bool:
        if not told.get("sequence"):
            return False
        with pytest.raises(BadUsage, match="another online trainer"):
            site.run(site.task(), lambda _: False)
        return True

    site.run(site.task(), until)


def test_trimmed_and_unreadable_events_end_it_with_bad_data(site: Site) -> None:
    site.append(FIRST, 100)
    for segment in sorted((site.folder / "log").glob("*/*.parquet")):
        segment.unlink()
    with pytest.raises(DataTrimmed):
        site.run(site.task(), site.caught_up)


def test_too_many_unreadable_events_end_it_before_an_anchor(site: Site) -> None:
    bad = [{**row, "label": 5} for row in rows(FIRST, 300)]
    site.append_rows(bad + rows(FIRST + 300, 100))
    with pytest.raises(BadData, match="unreadable"):
        site.run(site.task(online=anchored(50)), lambda _: False)


CHECKED: list[tuple[str, Callable[[Any, Change], None]]] = [
    ("finite", lambda _, change: change.tables["user"].values.fill(np.inf)),
    ("row-norm", lambda _, change: change.tables["user"].values.fill(50.0)),
    ("step", lambda state, change: change.tensors.update({name: v + 0.2 for name, v in state.tensors.items()})),
    ("tensor-norm", lambda state, change: change.tensors.update({n: v + 500.0 for n, v in state.tensors.items()})),
    ("", lambda state, change: change.tensors.update({name: v + 1e-3 for name, v in state.tensors.items()})),
]


@pytest.mark.parametrize(("name", "spoil"), CHECKED)
def test_checks_of_a_delta(site: Site, name: str, spoil: Callable[[Any, Change], None]) -> None:
    champion = Champion("1", read_bundle(site.folder / "registry/ctr/1/bundle"))
    state = state_of(champion.model).copy()
    user = state.tables["user"]
    rows_of_user = np.arange(3, dtype=np.int64)
    none = np.zeros(0, dtype=np.int64)
    table = TableChange(len(user.ids), rows_of_user, user.ids[:3].copy(), user.values[:3].copy(), none)
    change = Change({"user": table}, {})
    spoil(state, change)
    problem = failed_check(Subject(change, state, champion.bundle.golden), champion.baseline)
    assert problem.partition(":")[0] == name


def environment(**changes: Any) -> dict[str, str]:
    update = {"uid": "u", "namespace": "n", "name": "ctr", "number": 3, "attempt": 1, "kind": "Incremental"}
    values = {
        "VIRIDIAN_UPDATE": update,
        "VIRIDIAN_PARENT": {"version": "1", "digest": "sha256:" + "0" * 64},
        "VIRIDIAN_DATA": {"source": {"parquet": {"path": "log"}}},
        "VIRIDIAN_TRAINING": {"config": {}, "seed": 1},
        "VIRIDIAN_ONLINE": {"publishInterval": 0.5, "anchorEvents": 7},
        **changes,
    }
    texts = {"VIRIDIAN_MODEL_NAME": "ctr", "VIRIDIAN_STORE": "file:///s", "VIRIDIAN_CHECKPOINT_DIR": "c"}
    return {name: canonical_json(value).decode() for name, value in values.items()} | texts | {"VIRIDIAN_PORT": "8080"}


def test_the_environment_is_read_with_defaults() -> None:
    task: OnlineInput = read_online(environment())
    assert (task.online.publish_interval, task.online.anchor_events, task.online.anchor_every) == (0.5, 7, 600)
    assert task.port == 8080
    assert task.parent == VersionRef("1", "sha256:" + "0" * 64)
    assert task.chain == "ctr"


@pytest.mark.parametrize(("given", "chain"), [("", "ctr"), ("ctr-7", "ctr-7")])
def test_a_chain_is_named_by_its_variable_or_like_the_model(given: str, chain: str) -> None:
    task = read_online(environment() | {"VIRIDIAN_CHAIN": given})
    assert (task.chain, task.model_name) == (chain, "ctr")


def test_a_name_that_no_store_keeps_is_refused() -> None:
    with pytest.raises(BadUsage, match="VIRIDIAN_CHAIN: 'ctr/7'"):
        read_online(environment() | {"VIRIDIAN_CHAIN": "ctr/7"})


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"VIRIDIAN_PARENT": None}, BadConfig, "champion"),
        ({"VIRIDIAN_ONLINE": {"alpha": 2}}, BadConfig, "spec.online.alpha"),
        ({"VIRIDIAN_DATA": {"source": {"parquet": {"path": "l"}}, "replay": {"ratio": 1}}}, BadConfig, "set it to 0"),
    ],
)
def test_what_cannot_be_done_online_is_refused(changes: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        read_online(environment(**changes))
