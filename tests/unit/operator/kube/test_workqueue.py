"""The queue against a model of client-go's, on a clock that the test turns."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from viridian_operator.kube.workqueue import WorkQueue


class HandClock:
    """The part of an event loop that the queue uses, turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_at(self, when, callback, *args):
        handle = Handle(when)
        heapq.heappush(self._calls, (when, next(self._order), handle, callback, args))
        return handle

    def turn(self, seconds: float) -> None:
        self.now += seconds
        while self._calls and self._calls[0][0] <= self.now:
            _, _, handle, callback, args = heapq.heappop(self._calls)
            if not handle.cancelled:
                callback(*args)


class Handle:
    def __init__(self, when: float) -> None:
        self._when, self.cancelled = when, False

    def cancel(self) -> None:
        self.cancelled = True

    def when(self) -> float:
        return self._when


def take(queue: WorkQueue[str]) -> str:
    """``get`` of a queue that is known to have something."""
    try:
        queue.get().send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the queue said it had something")


KEYS = st.sampled_from("abc")
DELAYS = st.floats(min_value=0, max_value=10, allow_nan=False)


class QueueMachine(RuleBasedStateMachine):
    """Model: what is wanted now, what is being worked on, and the earliest time of what is wanted later."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = HandClock()
        self.queue: WorkQueue[str] = WorkQueue(clock=self.clock, base=1, cap=8, jitter=lambda: 0.0)
        self.wanted: set[str] = set()
        self.busy: set[str] = set()
        self.later: dict[str, float] = {}
        self.failures: dict[str, int] = {}

    taken = Bundle("taken")

    def _add(self, key: str) -> None:
        self.wanted.add(key)
        self.later.pop(key, None)

    def _add_after(self, key: str, delay: float) -> None:
        if key in self.wanted:
            return
        if delay <= 0:
            self._add(key)
        else:
            when = self.clock.now + delay
            self.later[key] = min(when, self.later.get(key, when))

    @rule(key=KEYS)
    def add(self, key: str) -> None:
        self.queue.add(key)
        self._add(key)

    @rule(key=KEYS, delay=DELAYS)
    def add_after(self, key: str, delay: float) -> None:
        self.queue.add_after(key, delay)
        self._add_after(key, delay)

    @rule(key=KEYS)
    def add_limited(self, key: str) -> None:
        self.queue.add_limited(key)
        failures = self.failures.get(key, 0)
        self.failures[key] = failures + 1
        self._add_after(key, min(2**failures, 8))

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.failures.pop(key, None)

    @rule(seconds=DELAYS)
    def time_passes(self, seconds: float) -> None:
        self.clock.turn(seconds)
        for key in [key for key, when in self.later.items() if when <= self.clock.now]:
            self._add(key)

    @precondition(lambda self: self.wanted - self.busy)
    @rule()
    def take(self) -> None:
        key = take(self.queue)
        assert key in self.wanted - self.busy, "handed out twice, or unasked"
        self.wanted.discard(key)
        self.busy.add(key)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.busy)))
        self.queue.done(key)
        self.busy.discard(key)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        assert len(self.queue) == len(self.wanted - self.busy)
        assert len(self.queue.working()) == len(self.busy)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


async def test_a_closed_queue_takes_and_gives_nothing_and_tells_when_work_is_finished() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("b")
    queue.add_after("c", 0.001)
    queue.close()
    queue.add("d")
    queue.add("a")
    idle = asyncio.create_task(queue.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    queue.done("a")
    await asyncio.wait_for(idle, 1)
    assert len(queue) == 0


def test_failures_wait_longer_and_longer_and_never_in_step() -> None:
    clock, spread = HandClock(), itertools.cycle([0.0, 0.5, 1.0])
    queue: WorkQueue[str] = WorkQueue(clock=clock, base=0.005, cap=60, jitter=lambda: next(spread))
    waits = []
    for _ in range(40):
        queue.add_limited("a")
        before = clock.now
        while not len(queue):
            clock.turn(0.001 if clock.now - before < 1 else 0.5)
        waits.append(clock.now - before)
        assert take(queue) == "a"
        queue.done("a")
    assert waits[0] < 0.01
    assert 30 <= waits[-1] <= 60.5
    assert len({round(wait) for wait in waits[-3:]}) == 3
