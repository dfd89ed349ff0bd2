"""The lease of the writer of a chain.

The lease keeps writers from taking turns; it is the token in the head that keeps a slow or cut-off one from doing
harm, so that clocks of different hosts may differ (a difference only shortens or lengthens the wait for a dead writer).
Idea of the fencing token: Kleppmann, Designing Data-Intensive Applications, chapter 8.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, ValidationError

from viridian_model.canonical import canonical_json
from viridian_model.publication import keys
from viridian_model.store.protocol import Conflict, Store, StoreRefused


class LeaseHeld(Exception):
    """Somebody else holds the lease; the text says who and for how long."""


class Fenced(Exception):
    """A writer with a higher token, or a revert, came in between: acquire again and go on from the head."""


class _Term(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    holder: str
    token: int
    until: float


class Lease:
    """Record ``<chain>/writer``."""

    def __init__(self, store: Store, chain: str, holder: str, ttl: float, clock: Callable[[], float]) -> None:
        self._record, self._holder, self._ttl, self._clock = store.record(keys.writer(chain)), holder, ttl, clock
        self.token = 0

    def take(self, above: int) -> int:
        """Take the lease with a token higher than ``above`` and any before; return it.

        Raises:
            LeaseHeld: somebody else holds it, or was faster.
        """
        now = self._clock()
        found, version = self._read()
        if found and found.holder != self._holder and found.until > now:
            raise LeaseHeld(f"{found.holder} holds the lease for another {found.until - now:.1f} s")
        token = max(above, found.token if found else 0) + 1
        try:
            self._record.compare_and_set(version, self._term(token, now + self._ttl))
        except Conflict:
            raise LeaseHeld("another writer took the lease at this moment") from None
        self.token = token
        return token

    def renew(self) -> None:
        """Hold it for another term.

        Raises:
            Fenced: somebody else has it.
        """
        self._replace(self._clock() + self._ttl)

    def release(self) -> None:
        """Let it end now; raises `Fenced` if it is somebody else's."""
        self._replace(0.0)

    def _replace(self, until: float) -> None:
        found, version = self._read()
        if found is None or (found.holder, found.token) != (self._holder, self.token):
            raise Fenced(f"the lease is held by {found.holder if found else 'nobody'}")
        try:
            self._record.compare_and_set(version, self._term(self.token, until))
        except Conflict:
            raise Fenced("another writer took the lease at this moment") from None

    def _read(self) -> tuple[_Term | None, str | None]:
        found = self._record.read()
        if found is None:
            return None, None
        try:
            return _Term.model_validate(json.loads(found.data)), found.version
        except (ValueError, ValidationError) as error:
            raise StoreRefused(f"the record of the writer cannot be read: {error}") from None

    def _term(self, token: int, until: float) -> bytes:
        return canonical_json({"holder": self._holder, "token": token, "until": until})
