"""Mistakes that the search has to find: each one breaks ``decide``, or the order of a pass, in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from simulation import World

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import Offsets, Phase, Revision, Window
from viridian_operator.decide import decision as act
from viridian_operator.decide import hot_swapping, residents, scaling, starting, step, traffic, training, upkeep
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.observation import JobView, LogHeads, Registry
from viridian_operator.decide.window import from_origin

Mutation = Callable[[pytest.MonkeyPatch], None]


def switch_before_verify(patch: pytest.MonkeyPatch) -> None:
    """Ready preview pods are enough to go to full size."""
    preparing = step._PHASES[Phase.PREPARING]

    def hasty(d: Draft) -> None:
        preparing(d)
        if d.running and d.update.phase is Phase.VERIFYING:
            d.put_update(phase=Phase.PREPARING)
            scaling.scale(d)

    patch.setitem(step._PHASES, Phase.PREPARING, hasty)


def scale_down_before_the_bake_ends(patch: pytest.MonkeyPatch) -> None:
    """Blue gets its small size as soon as it has lost the traffic."""
    patch.setattr(upkeep, "_STANDING_BY", frozenset({Phase.ROLLING_BACK}))


def error_taken_as_absence(patch: pytest.MonkeyPatch) -> None:
    """A registry that does not answer has no such version."""
    complete = training._complete

    def credulous(d: Draft, job: JobView) -> None:
        if d.seen.registry.error:
            asked = f"update:{d.seen.uid}/{d.update.number}"
            d.seen = replace(d.seen, registry=Registry(asked=asked, missing=True))
        complete(d, job)

    patch.setattr(training, "_complete", credulous)


def rollback_waits_for_green(patch: pytest.MonkeyPatch) -> None:
    """Traffic only leaves a revision that is healthy."""
    way_back = traffic._way_back

    def gated(d: Draft, blue: Revision) -> Revision | None:
        green = d.status.active
        return way_back(d, blue) if green and d.seen.ready_of(green.hash) else green

    patch.setattr(traffic, "_way_back", gated)


def intent_after_effect(patch: pytest.MonkeyPatch) -> None:
    """Effects run before the status that explains them is written."""

    def hasty(world: World, *, lose_status: bool = False, crash_after: int | None = None) -> act.Decision:
        made = step.decide(world.spec, world.status, world.observe(), world.now)
        assert not made.violated, made.violated
        for action in made.actions[:crash_after]:
            world.apply(action)
        if not lose_status:
            world.written(made.status)
        return made

    patch.setattr(World, "step", hasty)


def window_behind_what_was_trimmed(patch: pytest.MonkeyPatch) -> None:
    """What a trimmed log has lost is passed over without a word."""
    window_from = starting.window_from

    def careless(start: Offsets, heads: LogHeads) -> Window:
        return window_from(from_origin(start, heads), heads)

    patch.setattr(starting, "window_from", careless)


def flip_before_every_pod_holds_it(patch: pytest.MonkeyPatch) -> None:
    """One pod that holds the candidate is enough to switch, and those that hold it are flipped."""

    def hasty(d: Draft, green: Revision) -> tuple[Reason, str, bool] | None:
        pods = residents.counted(d, green)
        if any(residents.holds(pod, green.digest) for pod in pods):
            return None
        return Reason.PREPARING, "no pod has loaded it", False

    patch.setattr(hot_swapping, "unstaged", hasty)
    patch.setattr(residents, "_may_flip", lambda d, revision: residents.is_recorded(d, revision))


def config_map_after_flip(patch: pytest.MonkeyPatch) -> None:
    """Pods are flipped in the pass that writes what a pod serves which starts."""
    patch.setattr(residents, "_may_flip", lambda _d, _revision: True)
    order = upkeep.plan

    def flips_first(d: Draft) -> tuple[act.Action, ...]:
        return tuple(sorted(order(d), key=lambda action: not isinstance(action, act.FlipPods)))

    patch.setattr(step, "plan", flips_first)


MUTATIONS: tuple[Mutation, ...] = (
    switch_before_verify,
    scale_down_before_the_bake_ends,
    error_taken_as_absence,
    rollback_waits_for_green,
    intent_after_effect,
    window_behind_what_was_trimmed,
    flip_before_every_pod_holds_it,
    config_map_after_flip,
)
