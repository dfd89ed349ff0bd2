"""The example plug-ins train, pass the gate and serve with nothing but their file on the path."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging import evaluation
from worlds import data, following, parquet, rows, train_in, training

from viridian_model.requests import inputs_of_rows
from viridian_server.inference import answer
from viridian_server.loading import load
from viridian_server.revision import read_revision
from viridian_server.settings import read_settings
from viridian_trainer.environment import TrainInput
from viridian_trainer.errors import BadConfig
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.spec import Gate

EXAMPLES = Path(__file__).parents[3] / "examples" / "plugins"
HISTORY = ["last1", "last2", "last3"]
FIELDS = {"categorical": ["user", "item", "hour", *HISTORY]}
CONFIGS: dict[str, dict[str, Any]] = {
    "two_tower": {"architecture": "two_tower:TwoTower", "dim": 8},
    "sasrec": {"architecture": "sasrec:SASRec", "dim": 8, "history": HISTORY, "dropout": 0.1},
}


@pytest.fixture(autouse=True)
def plugins_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)


def with_history(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events with the last items that their user clicked, newest first, as a service would log them."""
    clicked: dict[str, deque[str]] = defaultdict(lambda: deque([""] * len(HISTORY), maxlen=len(HISTORY)))
    found = []
    for event in events:
        past = clicked[event["user"]]
        found.append({**event, **dict(zip(HISTORY, past, strict=True))})
        if event["label"]:
            past.appendleft(event["item"])
    return found


def judge(folder: Path, task: TrainInput, log: Any, outcome: Any, champion: Any) -> dict[str, Any]:
    told = evaluation(task, outcome, champion, Gate(margin=0.05, min_events=200))
    return evaluate_task(told, log, FolderRegistry(folder), evidence=False)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_plugin_trains_is_judged_and_serves(name: str, tmp_path: Path) -> None:
    events = with_history(rows(0, 9000))
    log = parquet(tmp_path / "log", events[:6000])
    task = replace(training(log, tmp_path / "log"), config=CONFIGS[name], data=data(tmp_path / "log", schema=FIELDS))
    first, _ = train_in(tmp_path / "r", task, log)
    assert judge(tmp_path / "r", task, log, first, None)["verdict"] == "Pass"
    parquet(tmp_path / "log", events[6000:])
    second_task = following(task, first, log)
    second, bundle = train_in(tmp_path / "r", second_task, log)
    verdict = judge(tmp_path / "r", second_task, log, second, first)
    assert (verdict["verdict"], verdict["reason"]) == ("Pass", "NonInferior"), verdict
    assert bundle.manifest.parent is not None

    requested = with_history(rows(9000, 3))
    wanted = bundle.load_model()
    served = serve(tmp_path, second, bundle.directory, requested)
    from viridian_model.inference import infer

    assert served["outputs"] == infer(wanted, inputs_of_rows(requested, wanted.schema))
    assert served["parameters"] == {"digest": second["digest"]}


def serve(folder: Path, outcome: Any, bundle: Path, requested: list[dict[str, Any]]) -> dict[str, Any]:
    """The reference server's way from the mounted revision to the answer of a request."""
    store, revision = folder / "store", folder / "revision"
    store.mkdir()
    revision.mkdir()
    (store / outcome["digest"].removeprefix("sha256:")).symlink_to(bundle)
    wanted = {"model": "ctr", "version": outcome["version"], "digest": outcome["digest"]}
    (revision / "revision.json").write_text(json.dumps(wanted))
    settings = read_settings({"VIRIDIAN_BUNDLE_STORE": str(store), "VIRIDIAN_REVISION_DIR": str(revision)})
    snapshot = load(read_revision(revision), settings, lambda _: None, threading.Event())
    body = json.dumps({"inputs": inputs_of_rows(requested, snapshot.model.schema)})
    found: dict[str, Any] = json.loads(answer(snapshot, body.encode()))
    return found


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"architecture": "two_tower:TwoTower", "itemFields": ["price"]}, "leave fields"),
        ({"architecture": "two_tower:TwoTower", "dimm": 8}, "unknown key dimm"),
        ({"architecture": "sasrec:SASRec", "history": ["last9"]}, "last9"),
        ({"architecture": "sasrec:SASRec", "dim": 8, "heads": 3, "history": HISTORY}, "divisible"),
    ],
)
def test_a_wrong_configuration_of_a_plugin_is_named(config: dict[str, Any], says: str, tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", with_history(rows(0, 200)))
    task = replace(training(log, tmp_path / "log"), config=config, data=data(tmp_path / "log", schema=FIELDS))
    with pytest.raises(BadConfig, match=says):
        train_in(tmp_path / "r", task, log)
