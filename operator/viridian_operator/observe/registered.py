"""What the registry knows, as far as this pass needs it; its errors are values."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from viridian_operator.api.follow import Follow
from viridian_operator.api.status import Offsets, Window
from viridian_operator.decide.observation import RegisteredVersion, Registry
from viridian_operator.decide.tags import TAGS
from viridian_operator.registry.artifacts import artifacts, digest_of
from viridian_operator.registry.errors import NotFound, RegistryError
from viridian_operator.registry.mlflow import MlflowRegistry
from viridian_operator.registry.versions import ModelVersion

#: Makes the client of the ModelUpdate's registry when it is needed; reads its credentials.
OpenRegistry = Callable[[], Awaitable[MlflowRegistry]]


async def ask_registry(
    connect: OpenRegistry,
    model: str,
    *,
    update: str = "",
    number: str = "",
    aliases: bool = False,
    uid: str = "",
    follow: Follow | None = None,
    listed: bool = False,
    versions: bool = False,
) -> Registry:
    """Ask for a version by the tag of its update or by its number, for the aliases, for the largest number of an
    update of ``uid``, for the version that ``follow`` names, and for all ``versions``.

    Nothing is asked, and no connection made, if nothing is wanted. A version asked for by number or followed that
    carries no digest gets one over its list of artifacts, if ``listed``.
    """
    if not (update or number or aliases or follow or versions):
        return Registry()
    try:
        registry = await connect()
        found = await _version(registry, model, update, number, listed=listed)
        if uid:
            found = replace(found, last_number=await registry.last_update(model, uid))
        if follow:
            followed = await _followed(registry, model, follow)
            found = replace(found, followed=followed, unfollowed=followed is None)
        if versions:
            found = replace(found, everything=tuple(registered(each) for each in await registry.versions(model)))
        return replace(found, aliases=await _aliases(registry, model)) if aliases else found
    except RegistryError as error:
        return Registry(error=error.message)


async def _version(registry: MlflowRegistry, model: str, update: str, number: str, *, listed: bool) -> Registry:
    if update:
        asked, found = f"update:{update}", await registry.version_by_update(model, update)
        return Registry(asked=asked, version=registered(found)) if found else Registry(asked=asked, missing=True)
    if number:
        asked = f"version:{number}"
        try:
            version = await registry.version(model, number)
        except NotFound:
            return Registry(asked=asked, missing=True)
        return Registry(asked=asked, version=await _pinned(registry, version) if listed else registered(version))
    return Registry()


async def _followed(registry: MlflowRegistry, model: str, follow: Follow) -> RegisteredVersion | None:
    try:
        number = (await registry.aliases(model)).get(follow.alias) if follow.alias else str(follow.version)
        if number is None:
            return None
        version = await registry.version(model, number)
    except NotFound:
        return None
    return await _pinned(registry, version)


async def _pinned(registry: MlflowRegistry, version: ModelVersion) -> RegisteredVersion:
    """``version`` with a digest, if it has a tag or artifacts to take one from."""
    found = registered(version)
    if found.digest:
        return found
    files = await artifacts(registry, version)
    return replace(found, digest=digest_of(version, files) if files else "")


async def _aliases(registry: MlflowRegistry, model: str) -> dict[str, str]:
    try:
        return await registry.aliases(model)
    except NotFound:
        return {}


def registered(version: ModelVersion) -> RegisteredVersion:
    """A version with the tags that Viridian uses; malformed tags read as absent ones."""
    tags = version.tags
    return RegisteredVersion(
        version=version.version,
        digest=tags.get("viridian.digest", ""),
        update=tags.get("viridian.update", ""),
        parent=tags.get("viridian.parent", ""),
        window=_window(tags.get("viridian.window")),
        trained_to=_offsets(tags.get("viridian.trained-to")),
        predicted_from=_offsets(tags.get("viridian.predicted-from")),
        event_time=_number(tags.get("viridian.event-time")),
        kind=tags.get("viridian.kind", ""),
        golden=_golden(tags.get("viridian.golden")),
        graph=tags.get("viridian.graph", ""),
        tags={key: tags[key] for key in TAGS if key in tags},
    )


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _window(text: str | None) -> Window | None:
    try:
        return Window.model_validate(_json(text))
    except ValidationError:
        return None


def _offsets(text: str | None) -> Offsets:
    found = _json(text)
    if not isinstance(found, dict):
        return {}
    return {str(partition): str(offset) for partition, offset in found.items()}


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _golden(text: str | None) -> str:
    """The text as it is, if pods will be able to read it."""
    return text if text and isinstance(_json(text), dict) else ""
