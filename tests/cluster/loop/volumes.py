"""A volume that all pods of a namespace may write to, and claims that no pod can use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loop.following import Object
from loop.nodes import schedulable
from loop.space import Space


def claim_name(space: Space) -> str:
    """Name of the claim of a namespace."""
    return f"{space.name}-checkpoints"


@contextmanager
def shared_claim(space: Space) -> Iterator[str]:
    """A volume claim that any pod can mount and any user may write to: the ``/tmp`` of one node."""
    name = claim_name(space)
    space.apply(_volume(space, name), _claim(name))
    try:
        yield name
    finally:
        space.tools.kubectl("delete", "persistentvolume", name, "--wait=false", "--ignore-not-found")


@contextmanager
def unbound_claim(space: Space) -> Iterator[str]:
    """A claim for which there is no volume."""
    name = f"{space.name}-unbound"
    space.apply(_claim(name))
    yield name
    space.kubectl("delete", "persistentvolumeclaim", name, "--wait=false")


@contextmanager
def lost_claim(space: Space) -> Iterator[str]:
    """A claim whose volume somebody has deleted, past its protection."""
    name = f"{space.name}-lost"
    space.apply(_volume(space, name), _claim(name))
    space.wait_for(f"persistentvolumeclaim/{name}", "jsonpath={.status.phase}=Bound", 60)
    space.tools.kubectl("delete", "persistentvolume", name, "--wait=false")
    unprotected = '{"metadata": {"finalizers": null}}'
    space.tools.kubectl("patch", "persistentvolume", name, "--type=merge", "-p", unprotected)
    space.wait_for(f"persistentvolumeclaim/{name}", "jsonpath={.status.phase}=Lost", 60)
    yield name
    space.kubectl("delete", "persistentvolumeclaim", name, "--wait=false")


def _volume(space: Space, name: str) -> Object:
    """On one node, where both pods are placed thereby."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [schedulable(space.tools)]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": space.name, "name": name},
            "hostPath": {"path": "/tmp"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }


def _claim(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
