"""A volume that all pods of a namespace may write to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loop.following import Object
from loop.nodes import schedulable
from loop.space import Space


@contextmanager
def shared_claim(space: Space) -> Iterator[str]:
    """A volume claim that any pod can mount and any user may write to: the ``/tmp`` of one node."""
    name = f"{space.name}-checkpoints"
    space.apply(_volume(space, name), _claim(name))
    try:
        yield name
    finally:
        space.tools.kubectl("delete", "persistentvolume", name, "--wait=false", "--ignore-not-found")


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
