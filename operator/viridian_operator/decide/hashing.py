"""Hashes that name revisions and notice changes; over user-owned fields only, so that no operator
upgrade ever changes one (fluxcd/flagger#1673)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from viridian_operator.api.spec import ModelUpdateSpec, Strategy

SCHEME = "v1"
_LENGTH = 10


def canonical_json(value: Any) -> str:
    """``value`` with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def short_hash(value: Any) -> str:
    """First ten hex digits of SHA-256 over the hash scheme and the canonical JSON of ``value``."""
    text = f"{SCHEME}:{canonical_json(value)}"
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def template_hash(spec: ModelUpdateSpec) -> str:
    """Hash of what a serving pod is made of; replicas and Service names are not part of it."""
    wire = spec.serving.wire()
    parts = {key: wire[key] for key in ("template", "port", "identity", "store") if key in wire}
    return short_hash(parts | ({"chains": spec.online.store.wire()} if follows_chain(spec) and spec.online else {}))


def follows_chain(spec: ModelUpdateSpec) -> bool:
    """Whether pods that are made now follow a chain of a store."""
    return spec.strategy is Strategy.ONLINE and spec.online is not None


def chain_name(spec: ModelUpdateSpec, name: str, uid: str, update: int) -> str:
    """Name of the chain that an update opens in the store: no two updates of any cluster have the same, and one of
    another store has another name."""
    return f"{name}-{uid[:8]}-{update}-{_store_hash(spec)}"


def is_of_store(chain: str, spec: ModelUpdateSpec) -> bool:
    """Whether a chain is in the store that ``spec`` names."""
    return spec.online is not None and chain.endswith(f"-{_store_hash(spec)}")


def _store_hash(spec: ModelUpdateSpec) -> str:
    return short_hash(spec.online.store.wire()) if spec.online else ""


def revision_hash(version: str, digest: str, template: str) -> str:
    """Hash that names a revision: version, digest and template hash."""
    return short_hash({"version": version, "digest": digest, "template": template})


def swappable_hash(template: str, update: int) -> str:
    """Hash that names a revision whose pods take versions: template hash and the update that made its Deployment."""
    return short_hash({"template": template, "update": update})


def inputs_hash(spec: ModelUpdateSpec) -> str:
    """Hash of what decides how a candidate is made and judged."""
    parts = (spec.training, spec.data, spec.gate)
    return short_hash([part.wire() if part else None for part in parts])
