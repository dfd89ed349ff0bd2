"""What a monitor knows, beside the log in Redis: positions and losses move together, so that each event counts once.

The keys are ``<stream>:drift:<key>`` (a hash, which the operator reads) and ``<stream>:drift:<key>:losses`` (a list).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from redis.exceptions import WatchError

from viridian_trainer.drift.detector import MEMORY
from viridian_trainer.errors import TaskError
from viridian_trainer.eventlog import Offset
from viridian_trainer.eventlog.redis_stream import RedisSource, reachable

OFFSETS, DETECTION, ERROR, SCORED, LEFT_OUT = "offsets", "detection", "error", "scored", "leftOut"


class Overtaken(TaskError):
    """Another monitor of the same ModelUpdate has written."""

    exit_code = 75
    reason = "Overtaken"


@dataclass(frozen=True)
class Round:
    """What one step found: where it came to, and the losses after the newest rise, if there was one."""

    offsets: dict[str, Offset]
    losses: list[float] = field(default_factory=list)
    detection: dict[str, Any] | None = None
    scored: int = 0
    left_out: int = 0


class MonitorState:
    """The two keys of one monitor.

    Parameters
    ----------
    key
        The uid of the ModelUpdate.
    """

    def __init__(self, source: RedisSource, key: str) -> None:
        self._source, self._redis = source, source.connect()
        self._hash = f"{source.stream}:drift:{key}"
        self._losses = f"{self._hash}:losses"
        self._written: bytes | None = None

    def load(self) -> tuple[dict[str, Offset] | None, list[float], int]:
        """Positions, losses since the newest rise, and the number of detections; None before the first step."""
        with reachable(self._source):
            fields = cast("dict[bytes, bytes]", self._redis.hgetall(self._hash))
            losses = cast("list[bytes]", self._redis.lrange(self._losses, 0, -1))
        self._written = fields.get(OFFSETS.encode())
        detection = json.loads(fields.get(DETECTION.encode(), b"null"))
        offsets = json.loads(self._written) if self._written else None
        return offsets, [float(loss) for loss in losses], detection["number"] if detection else 0

    def save(self, done: Round) -> None:
        """Write a step as a whole.

        Raises
        ------
        Overtaken
            If the positions are not the ones that this monitor wrote last.
        """
        offsets = json.dumps(done.offsets, sort_keys=True)
        try:
            with reachable(self._source), self._redis.pipeline(transaction=True) as pipe:
                pipe.watch(self._hash)
                if cast("bytes | None", pipe.hget(self._hash, OFFSETS)) != self._written:
                    raise WatchError
                pipe.multi()
                self._put(pipe, done, offsets)
                pipe.execute()
        except WatchError:
            raise Overtaken("another drift monitor of this ModelUpdate writes; this one begins anew") from None
        self._written = offsets.encode()

    def tell(self, error: str) -> None:
        """Say why nothing can be scored; "" if it can again."""
        with reachable(self._source):
            self._redis.hset(self._hash, ERROR, error)

    def _put(self, pipe: Any, done: Round, offsets: str) -> None:
        pipe.hset(self._hash, OFFSETS, offsets)
        pipe.hincrby(self._hash, SCORED, done.scored)
        pipe.hincrby(self._hash, LEFT_OUT, done.left_out)
        if done.detection is not None:
            pipe.hset(self._hash, DETECTION, json.dumps(done.detection))
            pipe.delete(self._losses)
        if done.losses:
            pipe.rpush(self._losses, *_texts(done.losses))
            pipe.ltrim(self._losses, -MEMORY, -1)


def _texts(losses: Sequence[float]) -> list[str]:
    return [f"{loss:.6g}" for loss in losses]
