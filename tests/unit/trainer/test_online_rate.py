"""The rate of publication that is told: that of the last minute."""

from __future__ import annotations

import pytest

from viridian_trainer.online.publication import RATE_SECONDS, Sent


class Clock:
    """Seconds that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sent(clock: Clock) -> Sent:
    return Sent(clock)


def publish(sent: Sent, clock: Clock, seconds: int, per_second: int) -> None:
    for _ in range(seconds * per_second):
        clock.now += 1 / per_second
        sent.add(10)


def test_a_publisher_that_stalls_is_seen_to_however_long_it_published(sent: Sent, clock: Clock) -> None:
    publish(sent, clock, 600, 4)
    assert sent.wire() == {"deltas": 2400, "bytes": 24000, "perSecond": 4.0}
    clock.now += RATE_SECONDS / 2
    assert sent.wire()["perSecond"] == pytest.approx(2.0, abs=0.1)
    clock.now += RATE_SECONDS / 2
    assert sent.wire() == {"deltas": 2400, "bytes": 24000, "perSecond": 0.0}


def test_one_that_began_to_publish_is_seen_at_once(sent: Sent, clock: Clock) -> None:
    assert sent.wire()["perSecond"] == 0.0
    publish(sent, clock, 5, 4)
    assert sent.wire()["perSecond"] == 4.0
    clock.now += 3600
    publish(sent, clock, 30, 4)
    assert sent.wire()["perSecond"] == pytest.approx(2.0, abs=0.1)
