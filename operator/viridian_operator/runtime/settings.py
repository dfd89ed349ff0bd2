"""Settings of the process, from ``VIRIDIAN_*`` variables and command-line flags; flags win."""

from __future__ import annotations

import argparse
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

PREFIX = "VIRIDIAN_"
SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class SettingsError(Exception):
    """Settings that cannot be used; the message names each and what is wrong with it."""


def _own_namespace() -> str:
    if namespace := os.environ.get("POD_NAMESPACE"):
        return namespace
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="utf-8").strip()
    except OSError:
        return "default"


def _identity() -> str:
    """Unique per process: a container that restarts in the same pod is another holder of the Lease."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid.uuid4().hex[:8]}"


class Settings(BaseModel):
    """How this process runs; times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, ...] = Field(default=(), description="namespaces to serve, comma-separated; none means all")
    workers: int = Field(default=8, ge=1, le=64, description="passes at the same time")
    reconcile_timeout: float = Field(default=30.0, gt=0, description="limit of one pass")
    resync: float = Field(default=600.0, ge=600, description="longest time without a pass; spread upwards by a half")
    backoff_cap: float = Field(default=60.0, gt=0, description="longest wait after failures in a row")
    drain: float = Field(default=10.0, ge=0, description="time for running passes to finish before the exit")

    kubeconfig: str | None = Field(default=None, description="access from outside of the cluster")
    strict_x509: bool = Field(default=True, description="false accepts a cluster CA without key usage or identifiers")
    api_timeout: float = Field(default=10.0, gt=0, description="limit of one request to the API server")

    leader_election: bool = Field(default=True, description="false only for a single process")
    lease_namespace: str = Field(default_factory=_own_namespace, description="where the Lease is")
    lease_name: str = Field(default="viridian-operator", min_length=1, description="name of the Lease")
    lease_duration: int = Field(default=5, ge=2, description="others take over after so long without renewal")
    lease_renew: float = Field(default=1.0, gt=0, description="time between renewals")
    lease_deadline: float = Field(default=3.5, gt=0, description="exit after so long without renewal")
    lease_poll: float = Field(default=0.5, gt=0, description="how often a standby looks at the Lease")
    identity: str = Field(default_factory=_identity, min_length=1, description="name of this process")

    probe_host: str = Field(default="", description="address of probes and metrics; empty means all")
    probe_port: int = Field(default=8080, ge=0, le=65535, description="port of probes and metrics; 0 picks one")
    source_interval: float = Field(default=5.0, gt=0, description="time between polls of an event log")
    max_concurrent_trainings: int = Field(default=0, ge=0, description="trainings at the same time; 0 means no limit")
    webhook_secret_file: str = Field(
        default="", description="secret of MLflow's webhooks; without it none are received"
    )
    webhook_port: int = Field(default=8081, ge=0, le=65535, description="port of webhooks; 0 picks one")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="least level shown")

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(dict.fromkeys(part for each in value.split(",") if (part := each.strip())))
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.lease_renew < self.lease_deadline < self.lease_duration:
            raise ValueError("lease_renew must be less than lease_deadline, and that less than lease_duration")
        return self


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per setting."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default in ((), None, "") else f" (default {field.default})"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="VALUE",
            help=f"{field.description}{default}; or {PREFIX}{name.upper()}",
        )


def read_settings(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """Settings from parsed flags (None where absent) and the environment.

    Raises
    ------
    SettingsError
        If a value cannot be used.
    """
    values: dict[str, Any] = {}
    for name in Settings.model_fields:
        for value in (flags.get(name), environment.get(PREFIX + name.upper())):
            if value is not None:
                values[name] = value
                break
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentences(error.errors()))) from None


def _sentences(errors: Sequence[Any]) -> list[str]:
    return [f"{'.'.join(map(str, each['loc'])) or 'settings'}: {each['msg']}" for each in errors]
