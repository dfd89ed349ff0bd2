"""Options and values that the commands on this machine share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from viridian_trainer import registry as tags
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import BadUsage
from viridian_trainer.eventlog import EventLog
from viridian_trainer.eventlog.parquet import ParquetEventLog
from viridian_trainer.eventlog.redis_stream import RedisSource
from viridian_trainer.eventlog.source import PASSWORD, USERNAME, open_log
from viridian_trainer.folder_registry import FolderRegistry
from viridian_trainer.registry import Registered, Registry, VersionMissing
from viridian_trainer.spec import Data, Source, parse_part

ParquetOption = Annotated[Path, typer.Option(help="directory of segments, as written by generate")]
RegistryOption = Annotated[str, typer.Option(help="a folder, or an address of MLflow (http://… or sqlite:///…)")]
LogOption = Annotated[Path | None, typer.Option("--parquet", help="event log: a directory of segments")]
SourceOption = Annotated[str | None, typer.Option(help="event log: JSON, as spec.data.source of the ModelUpdate")]
ModelOption = Annotated[str, typer.Option(help="name of the model")]
JsonOption = typer.Option(help="JSON, as in the ModelUpdate")

DEFAULT_DATA = '{"schema": {"categorical": ["user", "item", "hour"]}, "holdout": {"fraction": 0.1}}'


def store_version(store: Registry, model: str, number: str) -> Registered:
    """One version.

    Raises
    ------
    BadUsage
        If there is no such version.
    """
    try:
        return store.version(model, number)
    except VersionMissing as error:
        raise BadUsage(str(error)) from None


def open_registry(address: str) -> Registry:
    """The registry in a folder, or the one of MLflow where the address is a URL."""
    if "://" not in address:
        return FolderRegistry(Path(address))
    from viridian_trainer.registration import MlflowRegistry

    return MlflowRegistry(address)


def event_log(parquet: Path | None, source: str | None) -> EventLog | None:
    """The log that one of two options names, if any.

    Raises
    ------
    BadUsage
        If both are given.
    """
    if parquet is not None and source is not None:
        raise BadUsage("name one of --parquet and --source")
    if parquet is not None:
        return ParquetEventLog(parquet)
    return open_log(parse_part(Source, json_object(source, "--source"), "--source"), os.environ) if source else None


def redis_source(url: str, stream: str, partitions: int, env: Mapping[str, str]) -> RedisSource:
    """The streams at an address, with the credentials of ``env`` as in a Job.

    Raises
    ------
    BadUsage
        If the address holds a password, which everybody who lists processes would see.
    """
    if urlsplit(url).password:
        raise BadUsage(f"--redis must hold no password: put it into {PASSWORD} (and the user into {USERNAME})")
    return RedisSource(url, stream, partitions, env.get(USERNAME) or None, env.get(PASSWORD) or None)


def reference(found: Registered | None) -> VersionRef | None:
    """Version and digest of what was found."""
    return VersionRef(found.version, found.tags[tags.DIGEST]) if found else None


def json_object(text: str, option: str) -> dict[str, Any]:
    """An option that holds a JSON object.

    Raises
    ------
    BadUsage
        If it holds something else.
    """
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise BadUsage(f"{option} must be a JSON object")
    return value


def local_data(text: str, parquet: Path) -> Data:
    """``spec.data`` over a folder of segments."""
    return parse_part(Data, {**json_object(text, "--data"), "source": {"parquet": {"path": str(parquet)}}}, "--data")
