"""The Secret with the token of the serving pods' admin calls."""

from __future__ import annotations

import base64
import secrets

from viridian_operator.act.manifests.owner import SERVING, Owner
from viridian_operator.act.manifests.revision import is_owned
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.kube.resources import Manifest

TOKEN = "token"  # noqa: S105  a key, not a token


def new_token() -> str:
    """32 random bytes as text."""
    return secrets.token_urlsafe(32)


def admin_secret(spec: ModelUpdateSpec, owner: Owner, token: str) -> Manifest:
    """The Secret that holds ``token``."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": owner.metadata(names.admin_secret(owner.name), SERVING, owned=is_owned(spec)),
        "type": "Opaque",
        "data": {TOKEN: base64.b64encode(token.encode()).decode()},
    }


def token_of(secret: Manifest) -> str | None:
    """The token in a Secret; None if it holds none."""
    encoded = (secret.get("data") or {}).get(TOKEN)
    return base64.b64decode(encoded).decode() if encoded else None
