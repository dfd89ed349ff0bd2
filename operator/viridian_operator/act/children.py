"""The live children of one ModelUpdate during one pass, and writes to them."""

from __future__ import annotations

from collections.abc import Mapping

from viridian_operator.act.difference import difference
from viridian_operator.act.errors import NameTaken
from viridian_operator.act.manifests.owner import Owner
from viridian_operator.api.children import is_ours
from viridian_operator.api.names import ANNOTATION_ADOPT
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import NotFound
from viridian_operator.kube.resources import POD, Manifest, Resource, resource_of

#: Objects by kind and name, as the API server gave them.
Raw = Mapping[tuple[str, str], Manifest]


class Children:
    """What this pass has seen, kept up to date by what it writes.

    Parameters
    ----------
    raw
        Objects out of the observation; what is not in it is read when it is needed.
    """

    def __init__(self, cluster: Cluster, owner: Owner, raw: Raw) -> None:
        self._cluster = cluster
        self._owner = owner
        self._seen: dict[tuple[str, str], Manifest] = dict(raw)

    async def find(self, kind: Resource, name: str) -> Manifest | None:
        """The object, out of the observation or live; None only if the API server says that there is none."""
        if (kind.kind, name) not in self._seen:
            found = await self.read(kind, name)
            if found is None:
                return None
        return self._seen[kind.kind, name]

    async def read(self, kind: Resource, name: str) -> Manifest | None:
        """The object as it is at this moment."""
        try:
            found = await self._cluster.get(kind, self._owner.namespace, name)
        except NotFound:
            self._seen.pop((kind.kind, name), None)
            return None
        self._seen[kind.kind, name] = found
        return found

    def seen(self, kind: Resource) -> list[Manifest]:
        """Objects of a kind that this pass knows of and that are ours."""
        return [obj for (name, _), obj in self._seen.items() if name == kind.kind and self.owns(obj)]

    def pods(self) -> list[Manifest]:
        """Pods that this pass knows of; they belong to their ReplicaSets and Jobs."""
        return [obj for (kind, _), obj in self._seen.items() if kind == POD.kind]

    def owns(self, obj: Manifest) -> bool:
        """Whether an object is ours."""
        return is_ours(obj, self._owner.name, self._owner.uid)

    async def ensure(self, desired: Manifest) -> Manifest:
        """Make the object say what ``desired`` says; nothing is sent if it does already.

        Raises
        ------
        NameTaken
            If the object exists and is not ours.
        """
        kind, name = resource_of(desired), desired["metadata"]["name"]
        live = await self.find(kind, name)
        if live is not None:
            if not self._may_write(live):
                raise NameTaken(kind.kind, name)
            if not self._differs(desired, live):
                return live
            # this very object, should somebody have put another in its place meanwhile
            desired = {**desired, "metadata": {**desired["metadata"], "uid": live["metadata"]["uid"]}}
        written = await self._cluster.apply(desired)
        self._seen[kind.kind, name] = written
        return written

    async def create(self, desired: Manifest) -> None:
        """Create an object that is never changed again.

        Raises
        ------
        AlreadyExists
            If there is one of that name.
        """
        written = await self._cluster.create(desired)
        self._seen[desired["kind"], desired["metadata"]["name"]] = written

    async def delete(self, kind: Resource, name: str) -> None:
        """Delete the object with its dependents; one that is gone or not ours is left alone."""
        live = await self.find(kind, name)
        if live is None or not self.owns(live):
            return
        await self._cluster.delete(kind, self._owner.namespace, name, uid=live["metadata"]["uid"])
        self._seen.pop((kind.kind, name), None)

    def _may_write(self, live: Manifest) -> bool:
        adopted = (live["metadata"].get("annotations") or {}).get(ANNOTATION_ADOPT) == self._owner.name
        return self.owns(live) or (live["kind"] == "Service" and adopted)

    def _differs(self, desired: Manifest, live: Manifest) -> bool:
        return bool(difference(desired, live)) or self.changes_hands(desired, live)

    def changes_hands(self, desired: Manifest, live: Manifest) -> bool:
        """Whether ``spec.deletionPolicy`` is another one than when the object was written."""
        return self._owned(desired) != self._owned(live)

    def _owned(self, obj: Manifest) -> bool:
        """With ``deletionPolicy: Retain`` an owner reference must go, which a missing field alone does not show."""
        references = obj["metadata"].get("ownerReferences") or ()
        return any(reference.get("uid") == self._owner.uid for reference in references)
