"""``viridian-trainer``: the entry of the container, and the command line for people."""

from __future__ import annotations

import os
import sys

from viridian_trainer import logs


def main() -> None:
    """Run the task of the environment if there is one and no argument, else the command line."""
    if len(sys.argv) == 1 and os.environ.get("VIRIDIAN_TASK") == "Monitor":
        from viridian_trainer.drift.run import run as monitor  # without torch: it runs beside every model

        logs.configure()
        raise SystemExit(monitor(os.environ))
    from viridian_trainer.task import scratch_environment

    scratch_environment()
    if len(sys.argv) == 1 and os.environ.get("VIRIDIAN_TASK"):
        from viridian_trainer.task import run

        logs.configure()
        raise SystemExit(run(os.environ))
    from viridian_trainer.cli.app import app

    app()


if __name__ == "__main__":
    main()
