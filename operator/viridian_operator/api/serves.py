"""Content of the ConfigMap that says which version pods serve, read alike by observation and effects.

``revision.json`` and ``golden.json`` are what pods mount. ``standby.json``, which they do not, keeps the same of
versions that they may be told to serve next, so that neither a switch nor the way back needs the registry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from viridian_operator.api.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_EVENT_TIME,
    ANNOTATION_GRAPH,
    ANNOTATION_VERSION,
)

REVISION_FILE: Final = "revision.json"
GOLDEN_FILE: Final = "golden.json"
STANDBY_FILE: Final = "standby.json"


@dataclass(frozen=True)
class Serves:
    """What such a ConfigMap says: what Viridian wrote last, by its annotations, and what a pod reads, by its data."""

    version: str
    digest: str
    event_time: float | None = None
    graph: str = ""
    #: digest that a pod serves which starts now; another one than ``digest`` is somebody else's edit
    starting: str = ""
    #: golden requests by digest, as JSON text; without what is none
    golden: Mapping[str, str] = field(default_factory=dict)


def read_serves(config_map: Mapping[str, Any]) -> Serves | None:
    """What the ConfigMap says; None if that cannot be read."""
    data, written = config_map.get("data") or {}, config_map["metadata"].get("annotations") or {}
    try:
        wanted, standby = json.loads(data[REVISION_FILE]), json.loads(data.get(STANDBY_FILE) or "{}")
        starting, moment = str(wanted["digest"]), written.get(ANNOTATION_EVENT_TIME, wanted.get("eventTime"))
        version, digest = written.get(ANNOTATION_VERSION, wanted["version"]), written.get(ANNOTATION_DIGEST, starting)
        golden = {str(key): str(text) for key, text in standby.items()} | {digest: str(data.get(GOLDEN_FILE))}
        event_time = None if moment is None else float(moment)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return Serves(
        version=str(version),
        digest=digest,
        event_time=event_time,
        graph=written.get(ANNOTATION_GRAPH, ""),
        starting=starting,
        golden={key: text for key, text in golden.items() if _is_object(text)},
    )


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
