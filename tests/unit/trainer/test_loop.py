"""The loop over a folder: killed anywhere it ends with the same bits, and every event is used once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loops import FIRST, MARGINS, arguments, champion, patience, survive
from typer.testing import CliRunner
from worlds import parquet, rows

from viridian_trainer.cli.app import app
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import BadData, BadUsage
from viridian_trainer.eventlog.parquet import ParquetEventLog, write_segment
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.lineage import check_ledger, lineage
from viridian_trainer.loop import Journal

COMMAND = CliRunner()
KILLS = 10  # many more: make bench NAME=kills
WAIT = 150.0


@pytest.mark.timeout(3 * patience(KILLS))
@pytest.mark.parametrize("split", MARGINS)
def test_killed_at_random_steps_the_loop_uses_every_event_once_and_ends_with_the_same_bits(
    tmp_path: Path, split: str
) -> None:
    survived = survive(tmp_path, split, KILLS)
    assert survived["events"] > FIRST


def run(folder: Path, name: str, *more: str) -> str:
    done = COMMAND.invoke(app, [*arguments(folder, name), *more])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_ledger_finds_what_was_lost_used_twice_or_changed(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, FIRST + 200))
    run(tmp_path, "r", "--interval", "100")
    newest = champion(tmp_path, "r").candidate
    assert newest is not None
    links = lineage(FolderRegistry(tmp_path / "r"), "ctr", newest)
    assert len(links) > 1
    assert check_ledger(log, links).problems == []
    assert "begins at" in check_ledger(log, links[:1] + links[2:] + links[1:2]).problems[0]
    assert "trained again" in " ".join(check_ledger_of_twins(log, links[0]))
    changed = [{**row, "id": f"x{row['id']}"} for row in rows(0, FIRST + 200)]
    assert "other entries" in check_ledger(parquet(tmp_path / "other", changed), links).problems[0]


def check_ledger_of_twins(log: ParquetEventLog, link: object) -> list[str]:
    """Problems of a lineage that used the same window twice, with a horizon too short to notice."""
    from viridian_trainer import lineage as module

    class Forgetful(module.RecentIds):
        def add(self, event_id: str) -> bool:
            super().add(event_id)
            return True

    original = module.RecentIds
    module.RecentIds = Forgetful  # type: ignore[misc]
    try:
        return check_ledger(log, [link, link]).problems  # type: ignore[list-item]
    finally:
        module.RecentIds = original  # type: ignore[misc]


def test_replay_gives_the_same_bits_and_inspect_shows_the_offsets(tmp_path: Path) -> None:
    log = parquet(tmp_path / "log", rows(0, FIRST + 400))
    where = ("--model", "ctr", "--registry", str(tmp_path / "r"))
    run(tmp_path, "r", "--interval", "200", "--full-every", "3")
    version = champion(tmp_path, "r").candidate
    assert version is not None
    done = COMMAND.invoke(app, ["replay", version.version, *where, "--parquet", str(tmp_path / "log")])
    assert done.exit_code == 0, done.output
    assert "identical" in done.output
    done = COMMAND.invoke(app, ["inspect", version.version, *where, "--parquet", str(tmp_path / "log")])
    assert done.exit_code == 0, done.output
    (root, *_) = lineage(FolderRegistry(tmp_path / "r"), "ctr", version)
    assert f"0: 0 to {root.manifest.trained_to['0']}" in done.output
    assert "exactly once" in done.output
    changed = ({**row, "label": 1 - row["label"]} for row in rows(0, FIRST + 400))
    assert parquet(tmp_path / "other", changed).heads() == log.heads()
    done = COMMAND.invoke(app, ["replay", version.version, *where, "--parquet", str(tmp_path / "other")])
    assert done.exit_code == 65
    assert "weights.safetensors" in done.output


def test_a_rejected_window_is_tried_again_from_the_champion(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, FIRST))
    run(tmp_path, "r")
    good = champion(tmp_path, "r")
    parquet(tmp_path / "log", rows(FIRST, 200, flip_labels=1.0))
    parquet(tmp_path / "log", rows(FIRST + 200, 200))
    run(tmp_path, "r", "--interval", "200", "--gate", '{"minEvents": 10, "floors": {"auroc": 0.999}}')
    journal = Journal(FolderRegistry(tmp_path / "r").journal("ctr"))
    second, third = journal.records[-2:]
    assert (second.verdict, third.verdict) == ("Reject", "Reject")
    assert second.start == third.start == good.trained_to
    assert third.window.total > second.window.total
    assert third.parent == second.parent == good.candidate
    assert journal.champion == good


def test_an_undecided_window_is_extended_for_so_many_looks(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, FIRST))
    run(tmp_path, "r")
    good = champion(tmp_path, "r")
    parquet(tmp_path / "log", rows(FIRST, 300))
    run(tmp_path, "r", "--interval", "100", "--gate", '{"minEvents": 100000, "looks": 2}')
    ends = Journal(FolderRegistry(tmp_path / "r").journal("ctr")).records[-3:]
    assert [(record.look, record.verdict) for record in ends] == [
        (1, "Inconclusive"),
        (2, "Reject"),
        (1, "Inconclusive"),
    ]
    assert ends[1].reason == "Inconclusive"
    assert [record.start for record in ends] == [good.trained_to] * 3
    assert ends[0].window.total < ends[1].window.total < ends[2].window.total


def test_bad_records_fail_an_update_and_the_loop_gives_up_in_the_end(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, FIRST))
    run(tmp_path, "r")
    parquet(tmp_path / "log", [{**row, "label": 7} for row in rows(FIRST, 200)])
    done = COMMAND.invoke(app, arguments(tmp_path, "r"))
    assert done.exit_code == 65, done.output
    assert "10 updates in a row failed" in " ".join(done.output.split())
    records = Journal(FolderRegistry(tmp_path / "r").journal("ctr")).records
    assert [record.verdict for record in records[1:]] == ["Failed"] * 10 + [None]
    dead = (tmp_path / "log/dead.jsonl").read_text().splitlines()
    assert len(dead) == len({(json.loads(line)["partition"], json.loads(line)["offset"]) for line in dead}) > 0


def test_a_stopped_loop_ends_with_the_code_of_the_contract_and_goes_on(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, 6000))
    command = [sys.executable, "-m", "viridian_trainer", *arguments(tmp_path, "r"), "--first", "6000"]
    env = {**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{Path(__file__).parent}"}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + WAIT
        while not list((tmp_path / "r-checkpoints").glob("*/*.safetensors")) and time.monotonic() < deadline:
            time.sleep(0.002)
        process.terminate()
        assert process.wait(WAIT) == 143
    assert FolderRegistry(tmp_path / "r").versions("ctr") == []
    run(tmp_path, "r", "--first", "6000")
    assert champion(tmp_path, "r").number == 1


def test_a_partition_may_be_added(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, FIRST))
    run(tmp_path, "r")
    more = rows(FIRST, 100)
    write_segment(tmp_path / "log", "2", more)
    run(tmp_path, "r", "--interval", "100")
    last = Journal(FolderRegistry(tmp_path / "r").journal("ctr")).last
    assert last is not None
    assert (last.number, last.start["2"], last.end["2"]) == (2, "0", "100")
    assert last.verdict == "Pass"


def test_two_loops_do_not_share_a_folder(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "ctr" / "journal")
    with journal.locked(), pytest.raises(BadUsage, match="another loop"), Journal(tmp_path / "ctr/journal").locked():
        pass


def test_a_lineage_with_a_replaced_version_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "log", rows(0, FIRST))
    run(tmp_path, "r")
    wrong = VersionRef("1", "sha256:" + "0" * 64)
    with pytest.raises(BadData, match="is not sha256:0000"):
        lineage(FolderRegistry(tmp_path / "r"), "ctr", wrong)
