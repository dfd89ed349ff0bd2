"""The light image: trainer and evaluator as a Job, server otherwise; keeps docs/reference/contracts.md."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from contract import Failure
from serving import serve
from training import evaluate, train

TASKS = {"Train": train, "Evaluate": evaluate}


def main() -> int:
    """Do what the environment asks for; the last words go to the termination log."""
    log = Path(os.environ.get("VIRIDIAN_TERMINATION_LOG", "/dev/termination-log"))
    task = TASKS.get(os.environ.get("VIRIDIAN_TASK", ""))
    try:
        if task is None:
            serve()
        else:
            log.write_text(json.dumps(task()))
    except Failure as failure:
        log.write_text(failure.text())
        return failure.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
