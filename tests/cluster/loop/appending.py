"""Events appended to a stream of the test's own, from outside of the cluster."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

import redis

from loop.forwarding import forwarded
from loop.installing import SYSTEM
from viridian_demo.commands import Tools, run

PARTITIONS = 2
#: so that no event of a test lies in the future
_PAST = 50_000.0


@dataclass
class Stream:
    """A stream, and how many events were appended."""

    tools: Tools
    name: str
    count: int = 0
    begin: float = field(default_factory=lambda: time.time() - _PAST)

    def append(self, count: int, *, flipped: bool = False) -> None:
        """Append the next ``count`` events, one per second of event time, or with every label turned round."""
        with forwarded(self.tools, SYSTEM, "service/viridian-redis", 6379) as port:
            command = [sys.executable, "-m", "viridian_trainer", "generate"]
            command += ["--redis", f"redis://127.0.0.1:{port}/0", "--stream", self.name]
            command += ["--partitions", str(PARTITIONS), "--events", str(count), "--first", str(self.count)]
            command += ["--start", str(self.begin + self.count), *(["--flip-labels"] if flipped else [])]
            run(*command, env={"TERM": "dumb"})
        self.count += count

    def trim(self) -> None:
        """Remove every entry, as a stream with a maximal length does."""
        with forwarded(self.tools, SYSTEM, "service/viridian-redis", 6379) as port:
            client = redis.Redis(port=port)
            for partition in range(PARTITIONS):
                client.xtrim(f"{self.name}:{partition}", maxlen=0, approximate=False)
            client.close()

    def append_broken(self, count: int) -> None:
        """Append ``count`` entries that hold no event."""
        with forwarded(self.tools, SYSTEM, "service/viridian-redis", 6379) as port:
            client = redis.Redis(port=port)
            with client.pipeline(transaction=False) as batch:
                for number in range(count):
                    batch.xadd(f"{self.name}:{number % PARTITIONS}", {"event": "{broken"})
                batch.execute()
            client.close()
        self.count += count
