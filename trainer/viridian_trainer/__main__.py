"""``viridian-trainer``: the entry of the container, and the command line for people."""

from __future__ import annotations

import os
import sys

from viridian_trainer import logs
from viridian_trainer.scratch import scratch_environment
from viridian_trainer.start import start


def main() -> None:
    """Run the task of the environment if there is one and no argument, else the command line."""
    scratch_environment()
    if len(sys.argv) == 1 and os.environ.get("VIRIDIAN_TASK"):
        logs.configure()
        raise SystemExit(start(os.environ))
    from viridian_trainer.cli.app import app

    app()


if __name__ == "__main__":
    main()
