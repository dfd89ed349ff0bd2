"""``python -m tests.benchmarks [NAME]``: run one benchmark, or all."""

from __future__ import annotations

import sys

from tests.benchmarks import (
    bandwidth,
    decide,
    deltas,
    drift,
    freshness,
    gate,
    hotswap,
    kills,
    merkle,
    rollback,
    sequential,
    serving,
    staleness,
    staleness_drift,
)

BENCHMARKS = {
    "bandwidth": bandwidth.run,
    "decide": decide.run,
    "deltas": deltas.run,
    "drift": drift.run,
    "freshness": freshness.run,
    "gate": gate.run,
    "hotswap": hotswap.run,
    "kills": kills.run,
    "merkle": merkle.run,
    "rollback": rollback.run,
    "sequential": sequential.run,
    "serving": serving.run,
    "staleness": staleness.run,
    "staleness-drift": staleness_drift.run,
}


def main() -> int:
    """Run what is named."""
    names = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names:
        BENCHMARKS[name]().write(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
