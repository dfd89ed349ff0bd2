"""Every fault of the API server in every phase of an update: it ends as without them, and nobody notices.

Each update meets another fault in each of its phases (a Latin square), so that as many updates as there are faults
cover all pairs of fault and phase.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from loop.manifests import NAME

from faults.mischief import Do, Events, Fault, WatchFault, Where
from faults.oracle import invariants, no_request_lost, rolled_back, succeeded, switches
from faults.phases import AWAITING, BACK
from faults.world import World

PHASES = ("Queued", "Training", "Evaluating", "Preparing", "Verifying", "Scaling", "Switching", "Baking")
#: of an update that a person approves and that fails in its bake
WAY_BACK = (AWAITING, "Switching", "Baking", BACK)
CODES = (403, 409, 422, 429, 500, 503)
KINDS = (*(f"{code}-{what}" for code in CODES for what in ("write", "read")), "cut", "lost-reply", "delay", "stale")
WATCHES = tuple(Events)
ALL = (*KINDS, *WATCHES)
LEAN = (9,)
BOTH = ("reads", "steps")
#: so many calls of a phase go wrong, more than the client tries again at once
TIMES = 6


def _fault(kind: str, phase: str) -> Fault | WatchFault:
    if kind in WATCHES:
        return WatchFault(Events(kind), phases=(phase,))
    code, _, what = kind.partition("-")
    if code.isdecimal():
        where = Where(phases=(phase,), steps=what == "write", reads=what == "read")
        return Fault(Do.ANSWER, where, times=2 if code in ("409", "422") else TIMES, code=int(code))
    do = {"cut": Do.CUT, "lost": Do.LOSE_REPLY, "delay": Do.DELAY, "stale": Do.STALE}[code]
    return Fault(do, Where(phases=(phase,), steps=do is Do.LOSE_REPLY), times=TIMES, seconds=0.3)


def _rows(phases: Sequence[str], named: slice = slice(None), lean: Sequence[int] = ()) -> Iterator[object]:
    """Kinds of faults for ``phases``, each kind once in each phase; the ``named`` ones are the name of the cell."""
    for row in range(len(ALL)):
        kinds = [ALL[(row + 2 * place) % len(ALL)] for place in range(len(phases))]
        name = "+".join(f"{kind}@{phase}" for kind, phase in zip(kinds[named], phases[named], strict=True))
        marks = () if row in lean else (pytest.mark.thorough,)
        yield pytest.param(kinds, id=f"{row:02}-{name}", marks=marks)


@pytest.mark.parametrize("kinds", _rows(PHASES, slice(3, 6), LEAN))
def test_another_fault_in_every_phase(world: World, kinds: list[str]) -> None:
    faults = [_fault(kind, phase) for kind, phase in zip(kinds, PHASES, strict=True)]
    world.settled()
    with world.proxy.disturbed(*faults):
        mark = world.update()
        succeeded(world, mark)
    hit = [fault for fault in faults if fault.hit]
    assert len(hit) >= len(faults) // 2, "most of the faults never happened"


@pytest.mark.parametrize("kinds", _rows(WAY_BACK))
def test_another_fault_in_every_phase_of_the_way_back(world: World, kinds: list[str]) -> None:
    faults = [_fault(kind, phase) for kind, phase in zip(kinds, WAY_BACK, strict=True)]
    world.settled()
    with world.leading_to(*WAY_BACK), world.proxy.disturbed(*faults):
        mark = world.update()
        world.phase(mark, AWAITING)
        world.request(f"approve/{mark.number + 1}")
        rolled_back(world, mark)
    assert faults[-1].hit, "nothing went wrong on the way back"


@pytest.mark.parametrize("code", [403, 500])
@pytest.mark.parametrize("phase", ["Scaling", "Switching", "Baking", BACK])
@pytest.mark.parametrize("resource", ["services", "endpointslices", "deployments", "pods", "modelupdates"])
@pytest.mark.thorough
def test_an_unreadable_resource_never_strips_a_selector_or_scales_down(
    world: World, resource: str, phase: str, code: int
) -> None:
    _unreadable(world, resource, phase, code)


@pytest.mark.parametrize("resource", ["services", pytest.param("modelupdates", marks=pytest.mark.thorough)])
def test_a_forbidden_resource_in_the_switch_never_strips_a_selector_or_scales_down(world: World, resource: str) -> None:
    _unreadable(world, resource, "Switching", 403)


def _unreadable(world: World, resource: str, phase: str, code: int) -> None:
    reads = Fault(Do.ANSWER, Where(resource=resource, phases=(phase,), reads=True), times=TIMES, code=code)
    world.settled()
    with world.leading_to(phase), world.proxy.disturbed(reads):
        (rolled_back if phase == BACK else succeeded)(world, world.update())
    assert reads.hit, "it was never read"


@pytest.mark.parametrize("code", [403, pytest.param(500, marks=pytest.mark.thorough)])
def test_errors_of_the_api_never_skip_the_gate(world: World, code: int) -> None:
    world.settled()
    world.apply(training={"config": {"verdict": "Reject"}})
    faults = [Fault(Do.ANSWER, Where(phases=("Evaluating",), **{what: True}), times=5, code=code) for what in BOTH]
    try:
        with world.proxy.disturbed(*faults):
            mark = world.update()
            record = world.ended(mark)
    finally:
        world.apply()
    assert (record["phase"], switches(world, mark)) == ("Rejected", [])
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        pytest.param("Switching", 15, id="15s-Switching"),
        pytest.param("Baking", 15, id="15s-Baking", marks=pytest.mark.thorough),
        *(pytest.param(phase, 60, id=f"60s-{phase}", marks=pytest.mark.thorough) for phase in (*PHASES, AWAITING)),
    ],
)
def test_the_api_server_away(world: World, phase: str, seconds: int) -> None:
    world.settled()
    with world.leading_to(phase):
        mark = world.update()
        world.phase(mark, phase)
        with world.proxy.away():
            # the length of the outage is what is tested
            assert not world.proxy.gone.wait(seconds)
        if phase == AWAITING:
            world.request(f"approve/{mark.number + 1}")
        record = world.ended(mark, 120)
    assert record["phase"] == "Succeeded" or phase in ("Switching", "Baking"), record["message"]
    assert len(switches(world, mark)) <= 2
    assert invariants(world, mark) == []
    no_request_lost(world, mark)


@pytest.mark.thorough
def test_the_api_server_away_on_the_way_back(world: World) -> None:
    """Before the selector could be written: the candidate keeps the traffic, which is owed to what served before."""
    selector = Fault(Do.CUT, Where(resource="services", name=NAME, phases=(BACK,), steps=True), times=1000)
    world.settled()
    with world.leading_to(BACK):
        with world.proxy.disturbed(selector):
            mark = world.update()
            world.phase(mark, BACK)
            with world.proxy.away():
                # the length of the outage is what is tested
                assert not world.proxy.gone.wait(60)
                assert world.status()["phase"] == BACK
        rolled_back(world, mark, 120)
