"""Requests to the API server as the tests speak of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

#: kinds whose writes are no step of an update: the Lease is renewed all the time, Events tell what was done
BACKGROUND = frozenset({"leases", "events"})
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Call:
    """One request.

    ``phase`` is that of the newest status which was written through the proxy before it.
    """

    number: int
    verb: str
    resource: str
    name: str
    subresource: str
    phase: str
    moment: float
    url: str

    @property
    def write(self) -> bool:
        """Whether it changes something."""
        return self.verb in _VERBS.values()

    @property
    def step(self) -> bool:
        """Whether it is a write that an update needs."""
        return self.write and self.resource not in BACKGROUND

    def __str__(self) -> str:
        target = "/".join(filter(None, (self.resource, self.name, self.subresource)))
        return f"{self.verb} {target} ({self.phase or 'no phase'})"


def read_call(number: int, method: str, path: str, query: Mapping[str, str], phase: str, moment: float) -> Call:
    """What a request means, out of its method and URL."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if len(parts) > 2 and parts[0] == "namespaces":
        parts = parts[2:]
    resource, name, subresource = (*parts, "", "", "")[:3]
    verb = _VERBS.get(method) or ("watch" if query.get("watch") in ("true", "1") else "get" if name else "list")
    url = path + "?" + "&".join(f"{key}={value}" for key, value in sorted(query.items()))
    return Call(number, verb, resource, name, subresource, phase, moment, url)
