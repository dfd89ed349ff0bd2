"""Registry and event log of a ModelUpdate, with the credentials of its Secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import aiohttp

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import ApiError, NotFound
from viridian_operator.kube.resources import SECRET
from viridian_operator.registry import errors as registry_errors
from viridian_operator.registry.credentials import credentials_from
from viridian_operator.registry.mlflow import MlflowRegistry
from viridian_operator.sources import errors as source_errors
from viridian_operator.sources.redis_stream import StreamSource


async def open_registry(
    cluster: Cluster, session: aiohttp.ClientSession, namespace: str, spec: ModelUpdateSpec
) -> MlflowRegistry:
    """The client of the ModelUpdate's registry.

    Raises
    ------
    RegistryError
        If its credentials cannot be read.
    """
    reference = spec.registry.credentials_secret_ref
    if reference is None:
        return MlflowRegistry(session, spec.registry.tracking_uri)
    try:
        credentials = credentials_from(await _secret(cluster, namespace, reference.name))
    except NotFound:
        raise registry_errors.Unauthorized(
            f"Secret {reference.name} with the registry's credentials is missing"
        ) from None
    except ApiError as error:
        raise registry_errors.Unavailable(f"Secret {reference.name} cannot be read: {error.message}") from error
    except ValueError as error:
        raise registry_errors.Unauthorized(f"Secret {reference.name}: {error}") from error
    return MlflowRegistry(session, spec.registry.tracking_uri, credentials)


async def stream_source(cluster: Cluster, namespace: str, spec: ModelUpdateSpec) -> StreamSource | None:
    """The event log of the ModelUpdate; None if it has none.

    Raises
    ------
    SourceError
        If its credentials cannot be read.
    """
    stream = spec.data.source.redis_stream if spec.data else None
    if stream is None:
        return None
    values: Mapping[str, str] = {}
    if (reference := stream.credentials_secret_ref) is not None:
        try:
            values = await _secret(cluster, namespace, reference.name)
        except NotFound:
            raise source_errors.Unauthorized(f"Secret {reference.name} with the log's credentials is missing") from None
        except (ApiError, ValueError) as error:
            raise source_errors.Unavailable(f"Secret {reference.name} cannot be read: {error}") from error
    return StreamSource(
        url=stream.url,
        stream=stream.stream,
        partitions=stream.partitions,
        username=values.get("username"),
        password=values.get("password"),
    )


async def _secret(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    """Decoded values of a Secret; raises ValueError if one is not text."""
    secret = await cluster.get(SECRET, namespace, name)
    try:
        return {key: base64.b64decode(value).decode() for key, value in (secret.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("a value is not text") from None
