"""Killed anywhere, the online trainer makes the same steps again: no event lost or used twice, and the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from online_killing import RUNS
from online_site import Left, Site, root_of
from witness import uses

from viridian_model.ids import id_hash
from viridian_model.publication.head import Sequence
from viridian_trainer.environment import VersionRef
from viridian_trainer.lineage import check_ledger, lineage

#: More for a thorough run: VIRIDIAN_KILLS=200.
KILLS = int(os.environ.get("VIRIDIAN_KILLS", "10"))
WAIT = 600 + 10 * KILLS


def killed(folder: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).with_name("online_killing.py")), "5", str(KILLS), str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *options], env=env, capture_output=True, timeout=WAIT, text=True)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert outcome["last"] == 0, done.stderr
    assert all(code == -9 for code in outcome["codes"]), done.stderr
    return outcome


def check_uses(left: Left) -> None:
    """The witness has seen every event of the log once."""
    learner = left.branch_as_saved().learner
    counted = uses(learner.model.state_dict(), learner.kept())
    log = left.site.log
    payloads = [r.payload for name, head in log.heads().items() for r in log.records(name, "0", head)]
    assert counted == {id_hash(row["id"]): 1.0 for row in payloads}  # type: ignore[index]


@pytest.mark.timeout(2 * WAIT)
def test_after_kills_the_chain_is_one_and_the_weights_are_those_of_a_run_without_any(tmp_path: Path) -> None:
    site = Site(tmp_path).found()
    outcome = killed(tmp_path)
    left = Left.by(site, site.task())
    head = site.head
    assert head is not None
    sequences = [Sequence.parse(text) for text in outcome["heads"] if text]
    assert sequences == sorted(sequences)
    assert head.epoch == 1  # never was another branch begun: what was published could always be proven
    assert head.token > KILLS / 2  # most of them had begun to work when they were killed
    disturbed, undisturbed = left.branch_as_saved(), left.branch_without_disturbance()
    assert root_of(disturbed) == root_of(undisturbed) == head.root
    assert disturbed.passage.ledger.hexdigest == undisturbed.passage.ledger.hexdigest
    assert disturbed.test.wire() == undisturbed.test.wire()
    assert disturbed.learner.offsets == site.log.heads() == head.trained_to
    check_uses(left)


@pytest.mark.timeout(2 * WAIT)
def test_after_kills_with_partial_deltas_training_is_the_same_and_readers_follow_it(tmp_path: Path) -> None:
    site = Site(tmp_path).found()
    killed(tmp_path, "partial")
    left = Left.by(site, site.task(online=RUNS["partial"]))
    head = site.head
    assert head is not None
    assert head.epoch == 1  # the chain was read back, never begun anew
    disturbed = left.branch_as_saved()
    assert root_of(disturbed) == root_of(left.branch_without_disturbance()) != head.root
    assert disturbed.learner.offsets == site.log.heads() == head.trained_to
    assert left.is_served(head)
    check_uses(left)


@pytest.mark.timeout(2 * WAIT)
def test_after_kills_with_anchors_every_one_of_them_is_whole(tmp_path: Path) -> None:
    site = Site(tmp_path).found()
    killed(tmp_path, "anchors")
    left = Left.by(site, site.task())
    links = lineage(site.registry, "ctr", VersionRef(*left.standing.champion))
    assert len(links) > 1
    ledger = check_ledger(site.log, links)
    assert ledger.problems == []
    head = site.head
    assert head is not None
    assert head.anchor.digest == left.standing.champion[1]
    assert root_of(left.branch_as_saved()) == head.root
    check_uses(left)
