"""Pod templates of users, completed: what they say stays, what they leave open gets safe defaults."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from viridian_operator.kube.resources import Manifest

#: Group that may write to our volume claims; pods run as any user but root.
VOLUME_GROUP = 65532


class InvalidTemplate(ValueError):
    """A pod template cannot be completed; the text says what to write."""


def completed(template: Mapping[str, Any], where: str) -> Manifest:
    """A copy of ``template`` with the defaults of the restricted pod security standard and no API access.

    Raises
    ------
    InvalidTemplate
        If there is no container.
    """
    pod = copy.deepcopy(dict(template))
    spec = section(pod, "spec")
    if not isinstance(spec.get("containers"), list) or not spec["containers"]:
        raise InvalidTemplate(f"{where}.spec.containers needs at least one container with a name and an image")
    section(pod, "metadata")
    _default(spec, "automountServiceAccountToken", False)
    _default(spec, "enableServiceLinks", False)
    _restrict(spec)
    security = section(main_container(pod), "securityContext")
    _default(security, "readOnlyRootFilesystem", True)
    add_volume(pod, "viridian-tmp", "/tmp", {"emptyDir": {}})  # noqa: S108  a mount path
    return pod


def main_container(pod: Mapping[str, Any]) -> Manifest:
    """The container that keeps the contract: the first one."""
    container: Manifest = pod["spec"]["containers"][0]
    return container


def section(parent: Manifest, key: str) -> Manifest:
    """The object under ``key``, made if it is absent or null."""
    if not isinstance(parent.get(key), dict):
        parent[key] = {}
    found: Manifest = parent[key]
    return found


def _default(parent: Manifest, key: str, value: Any) -> None:
    if parent.get(key) is None:
        parent[key] = value


def _restrict(spec: Manifest) -> None:
    security = section(spec, "securityContext")
    if security.get("runAsUser") != 0:
        _default(security, "runAsNonRoot", True)
    _default(security, "seccompProfile", {"type": "RuntimeDefault"})
    for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        own = section(container, "securityContext")
        if own.get("runAsUser") == 0:
            _default(own, "runAsNonRoot", False)
        if not own.get("privileged"):
            _default(own, "allowPrivilegeEscalation", False)
        _default(section(own, "capabilities"), "drop", ["ALL"])


def add_labels(pod: Manifest, labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
    """Our labels and annotations beside the template's; ours win."""
    meta = section(pod, "metadata")
    section(meta, "labels").update(labels)
    section(meta, "annotations").update(annotations)


def add_environment(container: Manifest, variables: Iterable[Manifest], *, override: bool = True) -> None:
    """Put ``variables`` before the container's own, so that those may refer to ours with ``$(NAME)``.

    Where both name the same variable, ours wins, or with ``override`` False the template's.
    """
    own: list[Manifest] = container.get("env") or []
    ours = list(variables)
    if override:
        names = {variable["name"] for variable in ours}
        own = [variable for variable in own if variable.get("name") not in names]
    else:
        names = {variable.get("name") for variable in own}
        ours = [variable for variable in ours if variable["name"] not in names]
    container["env"] = [*ours, *own]


def add_environment_from(container: Manifest, secret: str | None) -> None:
    """All keys of a Secret as variables, before the container's own ``envFrom``."""
    if secret:
        container["envFrom"] = [{"secretRef": {"name": secret}}, *(container.get("envFrom") or [])]


def add_volume(pod: Manifest, name: str, path: str, source: Manifest, *, read_only: bool = False) -> None:
    """Mount a volume in the main container, unless the template mounts something there itself."""
    container = main_container(pod)
    mounts: list[Manifest] = container.get("volumeMounts") or []
    if any(str(mount.get("mountPath", "")).rstrip("/") == path for mount in mounts):
        return
    mount: Manifest = {"name": name, "mountPath": path}
    if read_only:
        mount["readOnly"] = True
    container["volumeMounts"] = [*mounts, mount]
    pod["spec"]["volumes"] = [*(pod["spec"].get("volumes") or []), {"name": name, **source}]


def add_storage(pod: Manifest, name: str, path: str, claim: str | None) -> None:
    """Mount a volume claim that the pod's group may write to, or an empty directory without one."""
    if claim is None:
        add_volume(pod, name, path, {"emptyDir": {}})
        return
    add_volume(pod, name, path, {"persistentVolumeClaim": {"claimName": claim}})
    security = section(pod["spec"], "securityContext")
    if security.get("fsGroup") is None:
        security["fsGroup"] = VOLUME_GROUP
        _default(security, "fsGroupChangePolicy", "OnRootMismatch")


def variable(name: str, value: str) -> Manifest:
    """One environment variable."""
    return {"name": name, "value": value}
