"""The kinds that the operator reads and writes, and references to objects of them.

Paths are static: nothing is discovered, neither at the start nor later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from viridian_operator.api import base

Manifest = dict[str, Any]


class Key(NamedTuple):
    """A ModelUpdate, as the work queue knows it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Resource:
    """A kind of object and where the API server keeps it."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of an object, or of the collection; ``namespace`` None means all of them."""
        parts = ["apis" if self.group else "api", self.api_version]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part is not None]
        return "/" + "/".join(parts)


MODEL_UPDATE: Final = Resource(base.API_VERSION, base.KIND, base.PLURAL)
JOB: Final = Resource("batch/v1", "Job", "jobs")
DEPLOYMENT: Final = Resource("apps/v1", "Deployment", "deployments")
SERVICE: Final = Resource("v1", "Service", "services")
CONFIG_MAP: Final = Resource("v1", "ConfigMap", "configmaps")
SECRET: Final = Resource("v1", "Secret", "secrets")
POD: Final = Resource("v1", "Pod", "pods")
ENDPOINT_SLICE: Final = Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
POD_DISRUPTION_BUDGET: Final = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
EVENT: Final = Resource("events.k8s.io/v1", "Event", "events")
LEASE: Final = Resource("coordination.k8s.io/v1", "Lease", "leases")

KNOWN: Final[Mapping[tuple[str, str], Resource]] = {
    (r.api_version, r.kind): r
    for r in (
        MODEL_UPDATE,
        JOB,
        DEPLOYMENT,
        SERVICE,
        CONFIG_MAP,
        SECRET,
        POD,
        ENDPOINT_SLICE,
        POD_DISRUPTION_BUDGET,
        EVENT,
        LEASE,
    )
}


def resource_of(manifest: Mapping[str, Any]) -> Resource:
    """The kind of a manifest.

    Raises
    ------
    ValueError
        If the operator has no business with that kind.
    """
    identity = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    try:
        return KNOWN[identity]
    except KeyError:
        raise ValueError(f"{identity[1]} of {identity[0]} is not a kind that the operator handles") from None


@dataclass(frozen=True)
class ObjectRef:
    """One object; with ``uid`` it means that object and no later one of the same name."""

    resource: Resource
    namespace: str
    name: str
    uid: str | None = None

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> ObjectRef:
        """The object that a manifest describes."""
        metadata = manifest["metadata"]
        return cls(resource_of(manifest), metadata["namespace"], metadata["name"], metadata.get("uid"))

    def manifest(self, **metadata: str | None) -> Manifest:
        """Identity fields of the object, with more ``metadata`` where it is not None."""
        extra = {key: value for key, value in metadata.items() if value is not None}
        return {
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"namespace": self.namespace, "name": self.name, **extra},
        }
