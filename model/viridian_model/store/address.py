"""Addresses of stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from viridian_model.store.protocol import Store

CONNECT_SECONDS = 3.0
TIMEOUT_SECONDS = 30.0
_EXAMPLES = "file:///var/lib/viridian/store, redis://HOST:PORT/DB or s3://BUCKET/PREFIX?endpoint=URL"


def open_store(url: str, environ: Mapping[str, str]) -> Store:
    """Open the store of an address (``VIRIDIAN_STORE``); nothing is asked of it yet.

    Args:
        url: the address. ``rediss://`` is Redis over TLS; ``s3://`` knows ``endpoint``, ``region`` and ``poll``
            (seconds between two looks at the head, 0.2).
        environ: where ``VIRIDIAN_STORE_USERNAME`` and ``VIRIDIAN_STORE_PASSWORD`` are taken from. S3 without them uses
            what the AWS libraries find (``AWS_…``, web identity, instance metadata).

    Raises:
        ValueError: the address is not one, or holds a credential; says what to write instead.
    """
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "a store address holds no credentials: give VIRIDIAN_STORE_USERNAME and VIRIDIAN_STORE_PASSWORD"
        )
    opener = _OPENERS.get(parts.scheme)
    if opener is None:
        raise ValueError(f"a store address is {_EXAMPLES}, not one of {parts.scheme or 'no scheme'}")
    return opener(parts, environ)


def _directory(parts: SplitResult, _: Mapping[str, str]) -> Store:
    from viridian_model.store.directory import DirectoryStore

    if parts.netloc or not parts.path.startswith("/"):
        raise ValueError("a store in a directory has three slashes and a full path: file:///var/lib/viridian/store")
    _only(parts)
    return DirectoryStore(Path(parts.path))


def _redis(parts: SplitResult, environ: Mapping[str, str]) -> Store:
    import redis

    from viridian_model.store.redis_store import RedisStore

    if not parts.hostname:
        raise ValueError(f"a store in Redis needs a host: redis://HOST:PORT/DB, not {parts.geturl()}")
    _only(parts)
    credentials = {name: environ.get(f"VIRIDIAN_STORE_{name.upper()}") or None for name in ("username", "password")}
    client = redis.Redis.from_url(
        parts.geturl(), socket_connect_timeout=CONNECT_SECONDS, socket_timeout=TIMEOUT_SECONDS, **credentials
    )
    return RedisStore(client)


def _s3(parts: SplitResult, environ: Mapping[str, str]) -> Store:
    from obstore.store import S3Store

    from viridian_model.store.s3 import ObjectStore

    options = _only(parts, "endpoint", "region", "poll")
    if not parts.netloc:
        raise ValueError("a store in S3 needs a bucket: s3://BUCKET/PREFIX?endpoint=URL")
    given: dict[str, Any] = {name: options[name] for name in ("endpoint", "region") if name in options}
    if username := environ.get("VIRIDIAN_STORE_USERNAME"):
        given |= {"access_key_id": username, "secret_access_key": environ.get("VIRIDIAN_STORE_PASSWORD", "")}
    client = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        client_options={
            "allow_http": options.get("endpoint", "").startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=TIMEOUT_SECONDS),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=TIMEOUT_SECONDS)},
        **given,
    )
    return ObjectStore(client, float(options.get("poll", "0.2")))


def _only(parts: SplitResult, *names: str) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    if unknown := sorted(options.keys() - set(names)):
        known = f"knows {', '.join(names)}" if names else "has no options"
        raise ValueError(f"a store address with {parts.scheme}:// {known}, not {', '.join(unknown)}")
    return options


_OPENERS: dict[str, Callable[[SplitResult, Mapping[str, str]], Store]] = {
    "file": _directory,
    "redis": _redis,
    "rediss": _redis,
    "s3": _s3,
}
