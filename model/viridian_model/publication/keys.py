"""Where the parts of a chain stand in a store; see docs/reference/online.md.

``chain`` is its name everywhere here; a name that is no part of a key raises `ValueError` before anything is asked.
"""

from __future__ import annotations

from viridian_model.canonical import directory_name
from viridian_model.publication.head import Head
from viridian_model.store.keys import checked_part

MANIFEST = "manifest.json"


def head(chain: str) -> str:
    """Record of the head."""
    return f"{checked_part(chain)}/head"


def writer(chain: str) -> str:
    """Record of the lease."""
    return f"{checked_part(chain)}/writer"


def heads(chain: str) -> str:
    """Folder of retained heads."""
    return f"{checked_part(chain)}/heads"


def retained(chain: str, head: Head) -> str:
    """A retained head."""
    return f"{heads(chain)}/{head.sequence}-{head.token}"


def deltas(chain: str) -> str:
    """Folder of deltas."""
    return f"{checked_part(chain)}/deltas"


def manifest(chain: str, digest: str) -> str:
    """Manifest of a delta."""
    return f"{deltas(chain)}/{directory_name(digest)}.json"


def payload(chain: str, digest: str) -> str:
    """Payload of a delta."""
    return f"{deltas(chain)}/{directory_name(digest)}.safetensors"


def golden(chain: str, digest: str) -> str:
    """Golden requests of a delta."""
    return f"{deltas(chain)}/{directory_name(digest)}.golden.json"


def bundles(chain: str) -> str:
    """Folder of anchors."""
    return f"{checked_part(chain)}/bundles"


def bundle_file(chain: str, digest: str, name: str) -> str:
    """A file of an anchor."""
    return f"{bundles(chain)}/{directory_name(digest)}/{name}"
