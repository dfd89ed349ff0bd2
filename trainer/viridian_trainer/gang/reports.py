"""How each process of a pod ended, and which of the ends is the cause of the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viridian_trainer.errors import BadConfig, BadData, BadUsage, GateInputMissing, PeerLost, Stopped

#: Folder in which the processes of a pod leave their reports.
FOLDER = "VIRIDIAN_RANK_REPORTS"

_FINAL = frozenset(kind.exit_code for kind in (GateInputMissing, BadUsage, BadData, BadConfig))


@dataclass(frozen=True)
class End:
    """Exit code and last words of a process."""

    code: int
    words: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """Of a failure."""
        return str((self.words.get("error") or {}).get("reason", ""))


def leave(folder: Path, local_rank: int, end: End) -> None:
    """Write the report of a process."""
    path = folder / f"{local_rank}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps({"code": end.code, "words": end.words}, default=str))
    unfinished.rename(path)


def reports(folder: Path) -> dict[int, End]:
    """The reports by local rank."""
    found = {int(path.stem): json.loads(path.read_text()) for path in folder.glob("*.json")}
    return {number: End(report["code"], report["words"]) for number, report in sorted(found.items())}


def silent(task: str, local_rank: int, status: int) -> End:
    """The end of a process that left no report, by its exit code or minus the signal that ended it."""
    if status < 0:
        reason, message, code = "Killed", f"process {local_rank} was ended by signal {-status}", 128 - status
    else:
        reason, message, code = "Crashed", f"process {local_rank} ended with exit code {status}", status
    return End(code, {"task": task, "error": {"reason": reason, "message": message}})


def cause(ends: Iterable[End]) -> End:
    """The end that explains the others: those whose peer went away, or who were told to stop, come last."""
    return min(ends, key=_order)


def _order(end: End) -> int:
    if end.code in _FINAL:
        return 0
    if end.code == 0:
        return 4
    return {PeerLost.reason: 3, Stopped.reason: 2}.get(end.reason, 1)
