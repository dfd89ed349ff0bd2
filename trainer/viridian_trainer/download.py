"""Bundles of registered versions, verified against their digest before anything reads them."""

from __future__ import annotations

from pathlib import Path

from viridian_model.bundle import Bundle, read_bundle
from viridian_model.errors import BundleError
from viridian_trainer.environment import VersionRef
from viridian_trainer.registry import Registry, VersionMissing


def fetch_bundle(registry: Registry, model: str, version: VersionRef, folder: Path) -> Bundle:
    """The verified bundle of a version, downloaded into a folder of its own below ``folder``.

    Raises
    ------
    VersionMissing
        If the version or a file of it is missing, or has another digest; the text says which.
    RegistryUnreachable
        If the registry does not answer.
    """
    target = folder / f"version-{version.version}-{version.digest[-8:]}"
    target.mkdir(parents=True, exist_ok=True)
    try:
        return read_bundle(registry.fetch(model, version, target), version.digest)
    except VersionMissing as error:
        raise VersionMissing(f"version {version.version} of model {model} cannot be read: {error}") from error
    except BundleError as error:
        raise VersionMissing(f"version {version.version} of model {model}: {error.message}") from error
