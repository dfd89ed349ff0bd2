"""``python -m viridian_trainer.gang.agent``: torchrun for the processes of one pod, with the contract's exit codes.

torchrun itself ends with 1 whatever its processes ended with.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import static_tcp_rendezvous
from torch.distributed.run import parse_args, run

from viridian_trainer import logs
from viridian_trainer import result as termination
from viridian_trainer.errors import PeerLost, Stopped
from viridian_trainer.gang.layout import layout
from viridian_trainer.gang.ranks import first_sentence
from viridian_trainer.gang.reports import FOLDER, End, cause, reports, silent

#: What torchrun reads; the environment of the pod wins. Until all pods are there the operator's deadlines bound the
#: wait: giving up earlier would count as a failure. A stop waits for a checkpoint, within the pod's grace period.
_DEFAULTS = {
    "PET_MAX_RESTARTS": "0",
    "PET_RDZV_CONF": "timeout=86400",
    "PET_SHUTDOWN_TIMEOUT": "100",
    "USE_LIBUV": "0",  # Debian's torch is built without it
    "OMP_NUM_THREADS": "1",  # the trainer sets its own number
}
#: Where all processes are on one machine, nothing of it need be reached from outside.
_ONE_NODE = {"PET_LOCAL_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}


def train(env: Mapping[str, str]) -> End:
    """Start the processes of this pod, wait for them, and give the end that counts."""
    task = env.get("VIRIDIAN_TASK", "Unknown")
    with tempfile.TemporaryDirectory(prefix="viridian-ranks-") as name:
        os.environ[FOLDER] = name
        found = _together(task)
        ends = found | reports(Path(name))
    if not ends:
        return _failed(task, Stopped("stopped before the training began"))
    return cause(ends[local_rank] for local_rank in sorted(ends))


def _together(task: str) -> dict[int, End]:
    """Run torchrun; gives the ends of processes as far as it saw them."""
    # torchrun's static rendezvous does not look at USE_LIBUV
    static_tcp_rendezvous.TCPStore = partial(TCPStore, use_libuv=False)  # type: ignore[attr-defined,assignment]
    try:
        run(parse_args(["--module", "viridian_trainer"]))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        return {f.local_rank: silent(task, f.local_rank, f.exitcode) for f in error.failures.values()}
    except SignalException:
        return {}
    except DistError as error:
        words = f"the pods of the training did not find each other: {first_sentence(error)}"
        return {0: _failed(task, PeerLost(words))}
    return {}


def _failed(task: str, error: PeerLost | Stopped) -> End:
    words, code = termination.failure(task, error)
    return End(code, words)


def main() -> None:
    """The process of a pod that starts the others."""
    logs.configure()
    one = layout(os.environ).nodes == 1
    for name, value in (_DEFAULTS | (_ONE_NODE if one else {})).items():
        os.environ.setdefault(name, value)
    end = train(os.environ)
    termination.write(end.words)
    sys.exit(end.code)


if __name__ == "__main__":
    main()
