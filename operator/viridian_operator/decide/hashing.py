"""Hashes that name revisions and notice changes; over user-owned fields only, so that no operator
upgrade ever changes one (fluxcd/flagger#1673)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from viridian_operator.api.serving import Serving
from viridian_operator.api.spec import ModelUpdateSpec

SCHEME = "v1"
_LENGTH = 10


def canonical_json(value: Any) -> str:
    """``value`` with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def short_hash(value: Any) -> str:
    """First ten hex digits of SHA-256 over the hash scheme and the canonical JSON of ``value``."""
    text = f"{SCHEME}:{canonical_json(value)}"
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def template_hash(serving: Serving) -> str:
    """Hash of what a serving pod is made of; replicas and Service names are not part of it."""
    wire = serving.wire()
    return short_hash({key: wire[key] for key in ("template", "port", "identity", "store") if key in wire})


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
