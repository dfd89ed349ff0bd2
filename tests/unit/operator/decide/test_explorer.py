"""A lean run of the search in ``tests/explore``, and the mistakes that it must find."""

from __future__ import annotations

from random import Random

import pytest
from simulation import World
from tests.explore.actions import a_pass_and_a_second
from tests.explore.mutations import MUTATIONS, Mutation
from tests.explore.search import Found, Search

LEAN = 10_000
SECONDS = 500.0


def test_ten_thousand_states_hold_every_invariant_and_come_to_an_end() -> None:
    search = Search(seed=1)
    search.run(LEAN, SECONDS)
    assert len(search.visited) >= LEAN
    assert search.followed > 0


FOUND_AS = {
    "switch_before_verify": "VerifiedBeforeSwitch",
    "scale_down_before_the_bake_ends": "BlueAtFullSize",
    "error_taken_as_absence": "an error was taken for absence",
    "rollback_waits_for_green": "a rollback waits although blue is ready|update never ends",
    "intent_after_effect": "switched without an intent",
    "window_behind_what_was_trimmed": "begins at|WindowsContiguous",
    "flip_before_every_pod_holds_it": "flipped before every pod held the version",
    "config_map_after_flip": "flipped before the ConfigMap said so|RecordBeforeFlip",
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.__name__)
def test_a_mistake_is_found_within_the_lean_budget(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(seed=1)
    mutation(monkeypatch)
    with pytest.raises(Found, match=FOUND_AS[mutation.__name__]):
        search.run(LEAN, SECONDS)


def test_the_search_may_do_without_the_json_form_of_status() -> None:
    real, quick = World(), World(wire=False)
    for seed in range(400):
        for world in (real, quick):
            if seed == 150:
                world.events += 1500
            a_pass_and_a_second(world, Random(seed))
        assert quick.status == real.status
    assert real.status.champion and real.status.champion.version == "2"
