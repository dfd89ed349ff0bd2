"""Settings from the environment; a bad value is named together with what would be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from viridian_model.store import open_store
from viridian_server.failure import LoadFailure
from viridian_server.faults import Faults

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Settings:
    """What can be set; the variable of a field stands beside it."""

    host: str | None  # VIRIDIAN_HOST; None listens on every address of every family
    port: int  # VIRIDIAN_PORT
    store: Path  # VIRIDIAN_BUNDLE_STORE
    chain_store: str  # VIRIDIAN_STORE; the address, credentials are read when it is opened
    check_seconds: float  # VIRIDIAN_CHECK_SECONDS, period of the check of memory in online mode
    revision_directory: Path  # VIRIDIAN_REVISION_DIR
    token_file: Path  # VIRIDIAN_ADMIN_TOKEN_FILE
    termination_log: Path  # VIRIDIAN_TERMINATION_LOG
    fetch_timeout: float  # VIRIDIAN_FETCH_TIMEOUT, seconds
    drain_seconds: float  # VIRIDIAN_DRAIN_SECONDS
    threads: int  # VIRIDIAN_INFERENCE_THREADS, requests that are computed at the same time
    torch_threads: int  # VIRIDIAN_TORCH_THREADS, threads that one request may use
    max_body_bytes: int  # VIRIDIAN_MAX_BODY_BYTES
    max_in_flight: int  # VIRIDIAN_MAX_IN_FLIGHT, more are answered with 503
    log_level: str  # VIRIDIAN_LOG_LEVEL
    tracking_uri: str  # MLFLOW_TRACKING_URI; the credentials are read by MLflow itself
    faults: Faults | None  # VIRIDIAN_FAULT, tests and demo only


def read_settings(env: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        LoadFailure: ``BadConfig``; names the variable.
    """
    level = env.get("VIRIDIAN_LOG_LEVEL", "INFO").upper()
    if level not in LEVELS:
        raise _bad("VIRIDIAN_LOG_LEVEL", level, f"one of {', '.join(LEVELS)}")
    return Settings(
        host=env.get("VIRIDIAN_HOST") or None,
        port=_integer(env, "VIRIDIAN_PORT", 8080, 0, 65535),
        store=Path(env.get("VIRIDIAN_BUNDLE_STORE") or "/var/lib/viridian/bundles"),
        chain_store=_store_address(env),
        check_seconds=_seconds(env, "VIRIDIAN_CHECK_SECONDS", 10),
        revision_directory=Path(env.get("VIRIDIAN_REVISION_DIR") or "/etc/viridian/revision"),
        token_file=Path(env.get("VIRIDIAN_ADMIN_TOKEN_FILE") or "/etc/viridian/admin/token"),
        termination_log=termination_log(env),
        fetch_timeout=_seconds(env, "VIRIDIAN_FETCH_TIMEOUT", 600),
        drain_seconds=_seconds(env, "VIRIDIAN_DRAIN_SECONDS", 10),
        threads=_integer(env, "VIRIDIAN_INFERENCE_THREADS", 2, 1, 256),
        torch_threads=_integer(env, "VIRIDIAN_TORCH_THREADS", 1, 1, 256),
        max_body_bytes=_integer(env, "VIRIDIAN_MAX_BODY_BYTES", 1 << 20, 1024, 1 << 30),
        max_in_flight=_integer(env, "VIRIDIAN_MAX_IN_FLIGHT", 512, 1, 1 << 20),
        log_level=level,
        tracking_uri=env.get("MLFLOW_TRACKING_URI", ""),
        faults=_faults(env),
    )


def termination_log(env: Mapping[str, str]) -> Path:
    """Return where the last words of the process go."""
    return Path(env.get("VIRIDIAN_TERMINATION_LOG") or "/dev/termination-log")


def _integer(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = env.get(name) or str(default)
    # isdecimal alone would take digits of other scripts
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        # A Service named "viridian" makes Kubernetes set VIRIDIAN_PORT=tcp://… in every pod beside it.
        hint = "; set enableServiceLinks: false in the pod" if text.startswith("tcp://") else ""
        raise _bad(name, text, f"an integer from {low} to {high}{hint}")
    return int(text)


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise _bad(name, text, "a number of seconds from 0 to 86400")
    return value


def _store_address(env: Mapping[str, str]) -> str:
    text = env.get("VIRIDIAN_STORE", "")
    try:
        if text:
            open_store(text, env).close()
    except ValueError as error:
        raise LoadFailure("BadConfig", f"VIRIDIAN_STORE: {error}") from None
    return text


def _faults(env: Mapping[str, str]) -> Faults | None:
    text = env.get("VIRIDIAN_FAULT")
    if not text:
        return None
    try:
        return Faults.parse(text)
    except ValueError as error:
        raise LoadFailure("BadConfig", f"VIRIDIAN_FAULT: {error}") from None


def _bad(name: str, text: str, wanted: str) -> LoadFailure:
    return LoadFailure("BadConfig", f"{name} is {text!r}, it must be {wanted}")
