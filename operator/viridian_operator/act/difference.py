"""Whether a live object already says what a manifest says, so that a pass without change writes nothing.

The comparison follows server-side apply: the manifest's fields must be in the live object, whose other
fields (defaults, status, fields of other managers) do not matter. Lists that the API merges by key are
compared by key, others item by item; quantities are compared by value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

#: keys of the lists that server-side apply merges
_MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "ownerReferences": ("uid",),
    "ports": ("containerPort", "port", "protocol"),
}
#: selectors are replaced as a whole: one label more selects something else
_EXACT: Final = frozenset({"selector", "labelSelector", "matchLabels", "nodeSelector"})
_QUANTITIES: Final = frozenset({"limits", "requests"})
_QUANTITY: Final = frozenset({"sizeLimit", "divisor", "storage"})
#: fields whose absence does not mean false, zero or empty
_MEANINGFUL: Final = frozenset(
    {
        "replicas",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "allowPrivilegeEscalation",
        "readOnlyRootFilesystem",
        "runAsNonRoot",
        "runAsUser",
        "runAsGroup",
        "fsGroup",
        "immutable",
        "controller",
        "blockOwnerDeletion",
        "terminationGracePeriodSeconds",
        "revisionHistoryLimit",
        "maxUnavailable",
        "maxSurge",
        "minAvailable",
        "emptyDir",
    }
)


def difference(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Paths of the fields of ``desired`` that ``live`` does not have; empty if a write would change nothing."""
    return list(_in_map(desired, live, ""))


def _in_map(desired: Mapping[str, Any], live: Mapping[str, Any], path: str) -> Iterable[str]:
    for key, value in desired.items():
        where = f"{path}.{key}" if path else key
        if key not in live or live[key] is None:
            if not _says_nothing(key, value):
                yield where
        else:
            yield from _in_value(value, live[key], where, key)


def _in_value(desired: Any, live: Any, path: str, key: str) -> Iterable[str]:
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        if key in _EXACT and set(live) != set(desired):
            yield path
        elif key in _QUANTITIES:
            yield from (f"{path}.{name}" for name in desired if not _same_quantity(desired[name], live.get(name)))
        else:
            yield from _in_map(desired, live, path)
    elif isinstance(desired, list) and isinstance(live, list):
        yield from _in_list(desired, live, path, key)
    elif not (_same_quantity(desired, live) if key in _QUANTITY else desired == live):
        yield path


def _in_list(desired: list[Any], live: list[Any], path: str, key: str) -> Iterable[str]:
    if keys := _MERGE_KEYS.get(key):
        found = {_identity(item, keys): item for item in live}
        for item in desired:
            identity = _identity(item, keys)
            if identity not in found:
                yield f"{path}[{'/'.join(identity)}]"
            else:
                yield from _in_value(item, found[identity], f"{path}[{'/'.join(identity)}]", "")
    elif len(desired) != len(live):
        yield path
    else:
        for index, (item, other) in enumerate(zip(desired, live, strict=True)):
            yield from _in_value(item, other, f"{path}[{index}]", "")


def _identity(item: Any, keys: tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(item, Mapping):
        return (str(item),)
    return tuple(str(item.get(key, "TCP" if key == "protocol" else "")) for key in keys)


def _says_nothing(key: str, value: Any) -> bool:
    """Whether the server drops such a value, so that its absence is equal to it."""
    if value is None:
        return True
    return key not in _MEANINGFUL and (value in ("", False) or value in ([], {}))


def _same_quantity(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    try:
        return bool(parse_quantity(one) == parse_quantity(other))
    except ValueError:
        return bool(one == other)
