"""What one wants to see when a test has failed: the telling part in the report, everything in a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from loop.installing import SYSTEM
from loop.space import Space
from viridian_demo.commands import ROOT, CommandFailed, Tools

_DIRECTORY = ROOT / "build" / "diagnosis"
_LOOKS = (
    ("get", "modelupdates", "-o", "yaml", "--show-managed-fields=false"),
    ("get", "events", "--sort-by=.metadata.creationTimestamp"),
    ("get", "pods,jobs,deployments,services,endpointslices", "-o", "wide", "--show-labels"),
)
_LOG = ("logs", "deployment/viridian", "--all-pods=true", "--prefix", "--tail=2000")
_LINES = 25
_LONGEST = 240


def state(tools: Tools, spaces: Iterable[Space], test: str) -> str:
    """Short state of the namespaces and the end of the operator's log; the whole of it goes to ``build/diagnosis``."""
    spaces, system = list(spaces), Space(tools, SYSTEM)
    log = _look(system, _LOG)
    complete = [
        f"--- {space.name}: kubectl {' '.join(look)}\n{_look(space, look)}" for space in spaces for look in _LOOKS
    ]
    file = _DIRECTORY / f"{test.replace('/', '-')}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*complete, f"--- log of the operator\n{log}"]), encoding="utf-8")
    short = [line for space in spaces for line in _short(space)]
    return "\n".join([f"everything: {file.relative_to(ROOT)}", *short, "--- log of the operator", *_messages(log)])


def _look(space: Space, command: tuple[str, ...]) -> str:
    try:
        return space.kubectl(*command)
    except CommandFailed as problem:
        return str(problem)


def _short(space: Space) -> list[str]:
    try:
        updates = space.list("modelupdates")
        pods = space.kubectl("get", "pods", "--no-headers").splitlines()
    except CommandFailed as problem:
        return [f"--- {space.name}: {problem}"]
    lines = [f"--- {space.name}"]
    for each in updates:
        status, metadata = each.get("status") or {}, each["metadata"]
        lines += [
            f"{metadata['name']}: generation {metadata['generation']}, observed {status.get('observedGeneration')}, "
            f"annotations {sorted(metadata.get('annotations') or {})}",
            f"  {status.get('phase')}: {status.get('message')}"[:_LONGEST],
            f"  last request: {json.dumps(status.get('lastRequest'))}"[:_LONGEST],
            *(f"  {_condition(each)}"[:_LONGEST] for each in status.get("conditions") or ()),
        ]
    return [*lines, *pods]


def _condition(condition: dict[str, Any]) -> str:
    return " ".join(str(condition.get(key)) for key in ("lastTransitionTime", "type", "status", "reason", "message"))


def _messages(log: str) -> list[str]:
    """The last lines over all pods of the operator, in the order of their times, without what repeats in each."""
    found = []
    for line in log.splitlines():
        try:
            record = json.loads(line[line.index("{") :])
        except ValueError:
            continue
        fields = {key: value for key, value in record.items() if key in ("name", "phase", "actions")}
        text = f"{record.get('level')} {record.get('message')} {fields}"[:_LONGEST]
        # of a traceback the functions tell enough
        frames = re.findall(r"line \d+, in \w+", record.get("exception", ""))
        found.append((str(record.get("time")), " < ".join([text, *frames])))
    return [f"{time[11:23]} {text}" for time, text in sorted(found)[-_LINES:]]
