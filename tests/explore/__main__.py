"""``python -m tests.explore [states]``: the long search, in two processes with seeds of their own."""

from __future__ import annotations

import json
import sys
import time
from array import array
from multiprocessing import Pool
from pathlib import Path

from tests.explore.search import Found, Search

RESULT = Path("build/explore.json")
PROCESSES = 2
_DAY = 86_400.0


def explore(seed: int, states: int) -> tuple[bytes, int, int, str]:
    """Fingerprints, happenings, updates followed to their end, and what was found ("" = nothing)."""
    search, found, began = Search(seed), "", time.monotonic()

    def progress(now: Search) -> None:
        rate = len(now.visited) / (time.monotonic() - began)
        print(f"seed {seed}: {len(now.visited):>9,} of {states:,} states, {rate:,.0f}/s", file=sys.stderr, flush=True)

    try:
        search.run(states, _DAY, progress)
    except Found as problem:
        found = str(problem)
        print(f"seed {seed} stops after {len(search.visited):,} states: {found}", file=sys.stderr, flush=True)
    return array("Q", search.visited).tobytes(), search.steps, search.followed, found


def main() -> int:
    """Returns 1 if something was found."""
    states = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    # two searches meet in some states: each one looks for a fifth more than its share
    share = states * 6 // (5 * PROCESSES)
    began = time.monotonic()
    with Pool(PROCESSES) as pool:
        parts = pool.starmap(explore, [(seed, share) for seed in range(1, PROCESSES + 1)])
    seconds = time.monotonic() - began
    distinct = len(set().union(*(array("Q", part[0]) for part in parts)))
    result = {
        "distinctStates": distinct,
        "steps": sum(part[1] for part in parts),
        "followedToTheEnd": sum(part[2] for part in parts),
        "seconds": round(seconds, 1),
        "statesPerSecond": round(distinct / seconds),
        "processes": PROCESSES,
        "found": [part[3] for part in parts if part[3]],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 1 if result["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
