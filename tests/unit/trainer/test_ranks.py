"""Several processes train what one would: the same events, the same weights, whatever ends them on the way."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from forked_ranks import Wanted
from torch import Tensor
from typer.testing import CliRunner
from worlds import CONFIG, parquet, rows

from viridian_model.bundle import Bundle, read_bundle
from viridian_trainer.cli.app import app
from viridian_trainer.errors import BadUsage
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.reproduce import task_of

FIRST, SECOND = 1500, 900
#: seconds within which all ranks end after one was killed, on a machine that does much else
BOUND = 30.0
PEER_LOST = 75
SMALL = {**CONFIG, "batchSize": 50, "dropout": 0.1, "checkpointEvents": 400}


class Trainings:
    """A folder with a log and as many registries as trainings, all done by one process that forks the ranks."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder, self._process = folder, process
        events = rows(0, FIRST + SECOND, duplicates=0.03, late=0.02)
        self.ends = [dict(parquet(folder / "log", part).heads()) for part in (events[:FIRST], events[FIRST:])]

    def run(self, name: str, update: int = 0, **changes: Any) -> dict[str, Any]:
        """Train up to the end of ``update``; gives how the ranks ended."""
        wanted = Wanted(**{"name": name, "to": self.ends[update], "config": SMALL, **changes})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(wanted)) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def bundle(self, name: str) -> Bundle:
        """The newest version in a registry."""
        found = FolderRegistry(self.folder / name).newest("ctr")
        assert found is not None
        return read_bundle(self.folder / name / "ctr" / found.version / "bundle")


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, str(Path(__file__).with_name("forked_ranks.py")), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Trainings(folder, process)
        process.kill()


def difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The greatest difference of two sets of tensors with the same names and shapes; ids must be equal."""
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}
    for name, value in one.items():
        assert value.is_floating_point() or torch.equal(value, other[name]), name
    numbers = [(value - other[name]).abs().max() for name, value in one.items() if value.numel()]
    return max(float(each) for each in numbers)


@pytest.mark.parametrize("split", ["Holdout", "Prequential"])
@pytest.mark.parametrize(
    ("ranks", "accumulator", "tolerance"),
    [
        (2, 0.1, 1e-6),
        pytest.param(3, 0.1, 1e-6, marks=pytest.mark.thorough),
        # Adagrad from zero divides the first gradients by themselves: where they nearly vanish, rounding shows
        pytest.param(2, 0.0, 1e-5, marks=pytest.mark.thorough),
    ],
)
def test_several_ranks_train_what_one_does(
    trainings: Trainings, split: str, ranks: int, accumulator: float, tolerance: float
) -> None:
    """Over two updates: tables that grow, a short last batch, duplicates, late and replayed events, dropout."""
    config = {**SMALL, "initialAccumulator": accumulator}
    names = [f"{kind}-{split}-{ranks}-{accumulator}" for kind in ("one", "many")]
    for update in (0, 1):
        for name, count in zip(names, (1, ranks), strict=True):
            assert trainings.run(name, update, ranks=count, split=split, config=config)["ends"] == [0] * count
        one, many = (trainings.bundle(name) for name in names)
        assert difference(one.weights(), many.weights()) <= tolerance
        assert difference(one.optimizer(), many.optimizer()) <= tolerance
        books, others = (bundle.manifest.model_extra or {} for bundle in (one, many))
        for book in ("ledger", "origin", "replay"):
            assert books[book] == others[book]
        assert one.manifest.trained_to == many.manifest.trained_to
        assert one.manifest.events == many.manifest.events
        assert one.manifest.events["duplicates"] > 0
        assert many.manifest.events["replayed"] > 0 or update == 0
        if split == "Prequential":
            assert books["prequential"]["events"] == others["prequential"]["events"] > 0


@pytest.fixture(scope="module")
def undisturbed(trainings: Trainings) -> str:
    """Digest of the version that two ranks make when nothing happens to them."""
    assert trainings.run("undisturbed", ranks=2, split="Prequential")["ends"] == [0, 0]
    return digest(trainings, "undisturbed")


def digest(trainings: Trainings, name: str) -> str:
    found = FolderRegistry(trainings.folder / name).newest("ctr")
    assert found is not None
    return found.tags["viridian.digest"]


def test_replay_repeats_two_ranks_with_two_processes_bit_for_bit(trainings: Trainings, undisturbed: str) -> None:
    where = ["--registry", str(trainings.folder / "undisturbed"), "--model", "ctr"]
    done = CliRunner().invoke(app, ["replay", "1", *where, "--parquet", str(trainings.folder / "log")])
    assert done.exit_code == 0, done.output
    assert "identical, bit for bit" in done.output


def test_ranks_on_gpus_cannot_be_repeated(trainings: Trainings, undisturbed: str, tmp_path: Path) -> None:
    manifest = trainings.bundle("undisturbed").manifest
    inputs = {**(manifest.model_extra or {})["inputs"], "config": {**SMALL, "device": "cuda"}}
    with pytest.raises(BadUsage, match="viridian-trainer inspect"):
        task_of(manifest.model_copy(update={"inputs": inputs}), tmp_path)


@pytest.mark.parametrize(("victim", "step"), [(0, 13), (1, 23)])
def test_a_killed_rank_ends_the_others_and_the_next_attempt_the_training(
    trainings: Trainings, undisturbed: str, victim: int, step: int
) -> None:
    name = f"killed-{victim}"
    found = trainings.run(name, ranks=2, split="Prequential", signal=signal.SIGKILL, victim=victim, step=step)
    assert found["ends"] == [-signal.SIGKILL if rank == victim else PEER_LOST for rank in (0, 1)]
    assert found["seconds"] < BOUND
    assert trainings.run(name, ranks=2, split="Prequential")["ends"] == [0, 0]
    assert digest(trainings, name) == undisturbed


@pytest.mark.parametrize("victim", [0, 1])
def test_a_stop_of_any_rank_ends_all_after_a_checkpoint(trainings: Trainings, undisturbed: str, victim: int) -> None:
    name = f"stopped-{victim}"
    found = trainings.run(name, ranks=2, split="Prequential", signal=signal.SIGTERM, victim=victim, step=5)
    assert found["ends"] == [143, 143]
    saved = (trainings.folder / f"{name}-checkpoints").glob("*/*.safetensors")
    assert [int(path.name.split("-")[0]) for path in saved] == [5 * SMALL["batchSize"]]
    assert trainings.run(name, ranks=2, split="Prequential")["ends"] == [0, 0]
    assert digest(trainings, name) == undisturbed


def test_a_rank_without_the_checkpoints_of_the_first_is_a_configuration_error(trainings: Trainings) -> None:
    assert trainings.run("apart", ranks=2, apart=True)["ends"] == [PEER_LOST, 78]


def test_a_version_that_an_earlier_attempt_registered_ends_all_ranks(trainings: Trainings, undisturbed: str) -> None:
    assert trainings.run("undisturbed", ranks=2, split="Prequential")["ends"] == [0, 0]
    assert digest(trainings, "undisturbed") == undisturbed


@pytest.mark.thorough
def test_ranks_killed_at_random_moments(trainings: Trainings, undisturbed: str) -> None:
    choice = random.Random(7)
    for round_ in range(6):
        name, killed = f"random-{round_}", 0
        for _ in range(4):
            found = trainings.run(
                name,
                ranks=2,
                split="Prequential",
                signal=signal.SIGKILL,
                victim=choice.randrange(2),
                seconds=choice.uniform(0.05, 1.5),
            )
            killed += -signal.SIGKILL in found["ends"]
            assert found["seconds"] < BOUND
            assert set(found["ends"]) <= {-signal.SIGKILL, PEER_LOST, 0}
        assert killed > 0
        assert trainings.run(name, ranks=2, split="Prequential")["ends"] == [0, 0]
        assert digest(trainings, name) == undisturbed
