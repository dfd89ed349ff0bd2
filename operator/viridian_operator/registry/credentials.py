"""Credentials of a registry, given by value for each use and never shown."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Anonymous:
    """No credentials."""

    def headers(self) -> dict[str, str]:
        """HTTP headers that prove who we are."""
        return {}


@dataclass(frozen=True)
class Basic:
    """User and password."""

    username: str
    password: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        """HTTP headers that prove who we are."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


@dataclass(frozen=True)
class Bearer:
    """A token."""

    token: str = field(repr=False)

    def headers(self) -> dict[str, str]:
        """HTTP headers that prove who we are."""
        return {"Authorization": f"Bearer {self.token}"}


Credentials = Anonymous | Basic | Bearer


def credentials_from(secret: Mapping[str, str]) -> Credentials:
    """Credentials in the keys that MLflow's own clients read from the environment.

    Parameters
    ----------
    secret
        Decoded data of a Secret: ``MLFLOW_TRACKING_TOKEN``, or ``MLFLOW_TRACKING_USERNAME`` and
        ``MLFLOW_TRACKING_PASSWORD``.

    Raises
    ------
    ValueError
        If it holds neither; the message names the keys.
    """
    if token := secret.get("MLFLOW_TRACKING_TOKEN", "").strip():
        return Bearer(token)
    if username := secret.get("MLFLOW_TRACKING_USERNAME", "").strip():
        return Basic(username, secret.get("MLFLOW_TRACKING_PASSWORD", "").rstrip("\r\n"))
    raise ValueError(
        "the Secret needs the key MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    )
