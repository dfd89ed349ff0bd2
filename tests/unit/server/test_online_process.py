"""A real server process that follows a real store while requests come in, and is killed."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from live_trainer import BODY, LiveTrainer
from pod import INFER, TOKEN, Process, Site, exchange, until

from viridian_model.publication.follower import Follower

Start = Callable[..., Process]
Served = tuple[int, str | None, Any]


@pytest.fixture
def server(site: Site, start: Start, store_url: str, trainer: LiveTrainer) -> Process:
    site.want(trainer.digest, follow=True)
    return start(VIRIDIAN_STORE=store_url, VIRIDIAN_CHECK_SECONDS="0.2").wait_ready()


def sequence(server: Process) -> str:
    found: str = server.get("/viridian/v1/identity")[1]["sequence"]
    return found


@contextmanager
def callers(server: Process, count: int = 2) -> Iterator[list[Served]]:
    """Callers that never pause; what they were answered."""
    stop, answers = threading.Event(), []

    def ask(connection: http.client.HTTPConnection) -> None:
        while not stop.is_set():
            status, headers, body = exchange(connection, "POST", INFER, BODY)
            answers.append((status, headers["x-model-sequence"], body.get("outputs")))

    threads = [threading.Thread(target=ask, args=(server.connect(),)) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("swaps", [50, pytest.param(1000, marks=pytest.mark.thorough)])
def test_no_answer_is_lost_or_mixed_while_deltas_come_in(server: Process, trainer: LiveTrainer, swaps: int) -> None:
    with callers(server) as answers:
        for _ in range(swaps):
            head = trainer.publish()
            if len(head.chain) > 100:
                trainer.compact()
            until(lambda head=head: sequence(server) == str(head.sequence))
    assert {status for status, _, _ in answers} == {200}
    wrong = [answer for answer in answers if answer[2] != trainer.offline[str(answer[1])]]
    assert wrong == []
    assert len({seen for _, seen, _ in answers}) > swaps // 2
    identity = server.get("/viridian/v1/identity")[1]
    assert identity["ready"]
    assert identity["merkleRoot"] == trainer.builder.root
    assert identity["consistency"]["found"] == 0
    assert identity["consistency"]["checks"] > 0


def test_a_revert_by_admin_call_outlives_a_kill(
    site: Site, start: Start, server: Process, store_url: str, trainer: LiveTrainer
) -> None:
    for _ in range(3):
        head = trainer.publish()
    until(lambda: sequence(server) == str(head.sequence))
    body = json.dumps({"to": "1.2", "reason": "clicks fell"})
    path, token = "/viridian/v1/admin/revert", f"Bearer {TOKEN}"
    assert exchange(server.connect(), "POST", path, body)[0] == 401
    status, _, answer = exchange(
        server.connect(), "POST", path, '{"to": "yesterday", "reason": "x"}', Authorization=token
    )
    assert (status, "send JSON with to, reason" in answer["error"]) == (400, True)
    before = time.monotonic()
    status, _, answer = exchange(server.connect(), "POST", path, body, Authorization=token)
    assert (status, answer["recorded"]) == (200, True)
    assert time.monotonic() - before < 10
    server.popen.kill()
    again = start(VIRIDIAN_STORE=store_url).wait_ready()
    assert sequence(again) == "2.2"
    status, headers, served = exchange(again.connect(), "POST", INFER, BODY)
    assert (status, headers["x-model-sequence"], served["outputs"]) == (200, "2.2", trainer.offline["1.2"])


def test_a_revert_by_admin_call_leaves_the_other_chain_of_the_model_alone(
    site: Site, start: Start, store_url: str, trainer: LiveTrainer, tmp_path: Path
) -> None:
    head = trainer.publish()
    other = LiveTrainer(store_url, tmp_path / "other", seed=2, chain="ctr-2")
    other.publish()
    site.want(other.digest, follow=True, chain="ctr-2")
    server = start(VIRIDIAN_STORE=store_url).wait_ready()
    assert exchange(server.connect(), "POST", INFER, BODY)[2]["outputs"] == other.offline["1.1"]
    body, token = json.dumps({"to": "anchor", "reason": "clicks fell"}), f"Bearer {TOKEN}"
    status, _, answer = exchange(server.connect(), "POST", "/viridian/v1/admin/revert", body, Authorization=token)
    assert (status, answer["recorded"]) == (200, True)
    until(lambda: sequence(server) == "2.0")
    assert Follower(trainer.store, "ctr").poll() == head
    assert trainer.publish().sequence == (1, 2)


def test_a_bit_that_flips_in_memory_is_repaired_while_it_answers(
    site: Site, start: Start, store_url: str, trainer: LiveTrainer
) -> None:
    trainer.publish()
    site.want(trainer.digest, follow=True)
    fault = json.dumps({"flip_bit_after": 0})
    server = start(VIRIDIAN_STORE=store_url, VIRIDIAN_CHECK_SECONDS="0.2", VIRIDIAN_FAULT=fault).wait_ready()

    def repaired() -> bool:
        _, _, said = exchange(server.connect(), "GET", "/viridian/v1/identity")
        return bool(said["consistency"] and said["consistency"]["repaired"] == 1)

    until(repaired)
    assert exchange(server.connect(), "POST", INFER, BODY)[2]["outputs"] == trainer.offline["1.1"]


def test_killed_at_any_moment_it_comes_back_at_the_head(
    start: Start, server: Process, store_url: str, trainer: LiveTrainer
) -> None:
    for _ in range(10):
        head = trainer.publish()
    server.popen.kill()  # somewhere between two of the ten
    server.wait()
    again = start(VIRIDIAN_STORE=store_url).wait_ready()
    until(lambda: sequence(again) == str(head.sequence))
    assert exchange(again.connect(), "POST", INFER, BODY)[2]["outputs"] == trainer.offline[str(head.sequence)]


def test_to_follow_needs_a_store(site: Site, start: Start) -> None:
    site.want(site.stored(), follow=True)
    assert start().wait() == 78
    assert "set VIRIDIAN_STORE" in site.last_words()["message"]
