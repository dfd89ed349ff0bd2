"""The Lease object through which replicas agree on one leader."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from viridian_operator.api.base import rfc3339
from viridian_operator.kube.cluster import Cluster
from viridian_operator.kube.errors import Conflict, NotFound
from viridian_operator.kube.resources import LEASE, Manifest


@dataclass(frozen=True, kw_only=True)
class LeaseTerms:
    """Which Lease, for whom, and its times in seconds.

    A holder that could not renew for ``deadline`` stops for good; others wait ``duration`` after the
    last renewal that they saw, so ``deadline`` must be smaller, with room for slow clocks.
    """

    namespace: str
    name: str
    identity: str
    duration: int = 5
    renew: float = 1.0
    deadline: float = 3.5
    #: how often a process that waits looks
    poll: float = 0.5

    def __post_init__(self) -> None:
        if not self.renew < self.deadline < self.duration:
            raise ValueError("lease times must satisfy renew < deadline < duration")


@dataclass(frozen=True)
class LeaseState:
    """A Lease as it was read or written."""

    resource_version: str
    holder: str
    duration: float
    transitions: int

    @classmethod
    def of(cls, lease: Manifest) -> LeaseState:
        """Read a manifest."""
        spec = lease.get("spec") or {}
        return cls(
            resource_version=lease["metadata"]["resourceVersion"],
            holder=spec.get("holderIdentity") or "",
            duration=float(spec.get("leaseDurationSeconds") or 0),
            transitions=int(spec.get("leaseTransitions") or 0),
        )


class Lease:
    """One process's view of the Lease.

    Times in the object are for people. Expiry is judged by how long *this* process has not seen the
    object change, on its own monotonic clock, so that clocks of different nodes do not matter.
    """

    def __init__(self, cluster: Cluster, terms: LeaseTerms, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._terms, self._clock = cluster, terms, clock
        self._state: LeaseState | None = None
        self._seen_at = 0.0
        self._acquired = ""

    @property
    def holder(self) -> str:
        """Who held it when it was last read; empty for nobody."""
        return self._state.holder if self._state else ""

    def expires_in(self) -> float:
        """Seconds until a holder that shows no sign of life is taken for dead; 0 if there is none."""
        if self._state is None or not self._state.holder:
            return 0.0
        return max(0.0, self._seen_at + self._state.duration - self._clock())

    async def try_acquire(self) -> bool:
        """Read the Lease and take it if it is free or has expired.

        Returns
        -------
        bool
            Whether this process holds it now. Losing the race for it is False, not an error.

        Raises
        ------
        ApiError
            If the API server does not answer or forbids it.
        """
        state = await self._read()
        if state is None:
            return await self._create()
        if state.holder not in ("", self._terms.identity) and self.expires_in() > 0:
            return False
        self._acquired = _now()
        try:
            await self._write(replace(state, transitions=state.transitions + 1))
        except Conflict:
            return False
        return True

    async def renew(self) -> None:
        """Show a sign of life.

        Raises
        ------
        Conflict
            If somebody else wrote the Lease since.
        ApiError
            If the API server does not answer or forbids it.
        """
        if self._state is None:
            raise Conflict("the Lease is not held")
        await self._write(self._state)

    async def reread(self) -> bool:
        """Look whose it is after a conflict; whether it still names this process."""
        state = await self._read()
        return state is not None and state.holder == self._terms.identity

    async def release(self) -> None:
        """Free the Lease for whoever waits.

        Raises
        ------
        ApiError
            If it could not be written; it then expires by itself.
        """
        try:
            await self._free()
        except Conflict:
            # A renewal whose reply was lost leaves us with an old resourceVersion.
            if await self.reread():
                await self._free()

    async def _read(self) -> LeaseState | None:
        try:
            lease = await self._cluster.get(LEASE, self._terms.namespace, self._terms.name)
        except NotFound:
            self._state = None
            return None
        return self._note(lease)

    def _note(self, lease: Manifest) -> LeaseState:
        state = LeaseState.of(lease)
        if self._state is None or self._state.resource_version != state.resource_version:
            self._seen_at = self._clock()
        self._state = state
        return state

    async def _create(self) -> bool:
        self._acquired = _now()
        fresh = LeaseState("", self._terms.identity, self._terms.duration, 0)
        try:
            self._note(await self._cluster.create(self._manifest(fresh)))
        except Conflict:
            return False
        return True

    async def _free(self) -> None:
        if self._state is not None and self._state.holder == self._terms.identity:
            body = self._manifest(replace(self._state, holder="", duration=1))
            self._note(await self._cluster.replace(body))

    async def _write(self, state: LeaseState) -> None:
        mine = replace(state, holder=self._terms.identity, duration=self._terms.duration)
        self._note(await self._cluster.replace(self._manifest(mine)))

    def _manifest(self, state: LeaseState) -> Manifest:
        metadata = {"namespace": self._terms.namespace, "name": self._terms.name}
        if state.resource_version:
            metadata["resourceVersion"] = state.resource_version
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": metadata,
            "spec": {
                "holderIdentity": state.holder,
                "leaseDurationSeconds": int(state.duration),
                "acquireTime": self._acquired,
                "renewTime": _now(),
                "leaseTransitions": state.transitions,
            },
        }


def _now() -> str:
    return rfc3339(datetime.now(UTC))
