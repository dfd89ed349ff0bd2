"""Trainer, evaluation and operator killed over whole updates: every event is trained on once, to the same bits."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from loop.appending import Stream
from loop.containers import kill_container
from loop.following import Following, Object
from loop.installing import SYSTEM
from loop.manifests import NAME
from loop.operator_pods import SELECTOR, holder
from loop.provenance import inspected, repeated
from loop.serving import ended, entry, last_number, serve_first
from loop.space import Space
from loop.volumes import shared_claim
from loop.waiting import until

#: Fewer for a shorter run: VIRIDIAN_CLUSTER_KILLS=50.
KILLS = int(os.environ.get("VIRIDIAN_CLUSTER_KILLS", "300"))
#: Models that are updated side by side, under one operator: while one waits for its next attempt, others go on.
MODELS = int(os.environ.get("VIRIDIAN_CLUSTER_MODELS", "5"))
#: Few in each update, since every further attempt waits twice as long.
PER_UPDATE, EVENTS = 4, 400
#: Longest time in seconds from the start of a container of a Job to its kill; some end before.
LIFE = 8.0
#: Probability that a kill hits the operator.
HITS_OPERATOR = 0.3
GONE = ("--grace-period=0", "--force", "--ignore-not-found")
JOB = "batch.kubernetes.io/job-name"

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(900 + 60 * KILLS)]


class Tally:
    """Kills of all models."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.killed = Counter[str]()

    def add(self, found: Counter[str]) -> int:
        """Count them; returns how many there are in all."""
        with self._lock:
            self.killed += found
            total = self.killed.total()
            print(f"{time.strftime('%H:%M:%S')} {total} of {KILLS} kills: {dict(self.killed)}", flush=True)
            return total


def test_killed_anywhere_every_event_is_trained_on_once(new_space: Callable[[str], Space]) -> None:
    tally = Tally()
    spaces = [new_space(f"kills-{number}") for number in range(MODELS)]
    with ThreadPoolExecutor(MODELS) as pool:
        versions = list(pool.map(lambda seed, space: _disturbed_model(seed, space, tally), range(MODELS), spaces))
    assert set(tally.killed) == {"train", "eval", "operator"} or KILLS < 100
    print(f"{tally.killed.total()} kills: {dict(tally.killed)}; {sum(versions)} versions repeated bit for bit")


def _disturbed_model(seed: int, space: Space, tally: Tally) -> int:
    """Update a model until enough was killed, and look at all that came of it; returns how many versions that is."""
    stream, dice = Stream(space.tools, space.name), random.Random(seed)
    with shared_claim(space) as claim:
        serve_first(space, stream, training=_training(claim), gate={"minEvents": 20, "margin": 1.0})
        with space.follow(NAME) as following:
            while tally.add(_disturbed_update(space, stream, following, dice)) < KILLS:
                pass
    champion = space.status(NAME)["champion"]
    ends = champion["watermark"].values()
    assert sum(int(offset.partition("@")[0]) for offset in ends) > stream.count - EVENTS
    assert "exactly once" in inspected(space, champion["version"])
    versions = [str(number) for number in range(1, int(champion["version"]) + 1)]
    assert repeated(space, versions).count("bit for bit") == len(versions)
    return len(versions)


def _disturbed_update(space: Space, stream: Stream, following: Following, dice: random.Random) -> Counter[str]:
    number, killed = last_number(space) + 1, Counter[str]()
    stream.append(EVENTS)
    space.request(NAME, "run")
    for _ in range(PER_UPDATE):
        if dice.random() < HITS_OPERATOR:
            time.sleep(dice.uniform(0.0, LIFE))  # a random moment is what is tested
            killed["operator"] += _kill_leader(space)
        else:
            killed.update(_kill_job(space, number, dice))
    record, status = ended(following, number, 900)
    assert record["phase"] == "Succeeded", record["message"]
    assert status["champion"]["version"] == record["version"]
    return killed


def _kill_job(space: Space, number: int, dice: random.Random) -> list[str]:
    """SIGKILL to what trains or evaluates, at a random moment of its life; returns which, nothing if it has ended."""

    def running() -> list[Object]:
        return [pod for pod in space.list("pods", JOB) if pod["status"]["phase"] == "Running"]

    until(lambda: running() or _over(space, number), 300, "a Job runs, or the update has ended")
    if not (pods := running()):
        return []
    time.sleep(dice.uniform(0.0, LIFE))
    task = pods[0]["metadata"]["labels"][JOB].split("-")[1]
    return [task] if kill_container(pods[0]) else []


def _kill_leader(space: Space) -> int:
    """SIGKILL; its pod is deleted, since the kubelet restarts what dies over and over ever later."""
    pod = until(lambda: _leader(space), 60, "an operator leads")
    killed = kill_container(pod)
    Space(space.tools, SYSTEM).kubectl("delete", "pod", pod["metadata"]["name"], *GONE)
    return bool(killed)


def _leader(space: Space) -> Object | None:
    """The pod that the Lease names, unless that was killed and nobody has taken over yet."""
    name = holder(space.tools)
    pods = Space(space.tools, SYSTEM).list("pods", SELECTOR)
    return next((pod for pod in pods if pod["metadata"]["name"] == name), None)


def _over(space: Space, number: int) -> bool:
    return entry(space.status(NAME), number) is not None


def _training(claim: str) -> Object:
    """Checkpoints every few steps, and attempts enough."""
    return {
        "checkpoint": {"persistentVolumeClaim": {"claimName": claim}},
        "retries": {"infrastructure": 100},
        "config": {"batchSize": 8, "checkpointEvents": 40},
    }
