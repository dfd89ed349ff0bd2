"""Where the parts of a model stand in a store; see docs/reference/online.md."""

from __future__ import annotations

from viridian_model.canonical import directory_name
from viridian_model.publication.head import Head

MANIFEST = "manifest.json"


def head(model: str) -> str:
    """Record of the head."""
    return f"{model}/head"


def writer(model: str) -> str:
    """Record of the lease."""
    return f"{model}/writer"


def heads(model: str) -> str:
    """Folder of retained heads."""
    return f"{model}/heads"


def retained(model: str, head: Head) -> str:
    """A retained head."""
    return f"{heads(model)}/{head.sequence}-{head.token}"


def deltas(model: str) -> str:
    """Folder of deltas."""
    return f"{model}/deltas"


def manifest(model: str, digest: str) -> str:
    """Manifest of a delta."""
    return f"{deltas(model)}/{directory_name(digest)}.json"


def payload(model: str, digest: str) -> str:
    """Payload of a delta."""
    return f"{deltas(model)}/{directory_name(digest)}.safetensors"


def golden(model: str, digest: str) -> str:
    """Golden requests of a delta."""
    return f"{deltas(model)}/{directory_name(digest)}.golden.json"


def bundles(model: str) -> str:
    """Folder of anchors."""
    return f"{model}/bundles"


def bundle_file(model: str, digest: str, name: str) -> str:
    """A file of an anchor."""
    return f"{bundles(model)}/{directory_name(digest)}/{name}"
