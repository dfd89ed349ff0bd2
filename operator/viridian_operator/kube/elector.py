"""Leading while the Lease is held, and stopping for good when it is lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from viridian_operator.kube.errors import ApiError, Conflict, Forbidden
from viridian_operator.kube.lease import Lease, LeaseTerms

log = logging.getLogger(__name__)

#: Called once, from any thread, with what happened; must end the process at once.
Lost = Callable[[str], None]


class Elector:
    """Waits for the Lease, keeps it and gives it back.

    Nobody else may act while this process still can. The only fence against a process that hangs is
    its exit, so a thread of its own watches the deadline, even while the event loop is blocked.
    """

    def __init__(
        self, lease: Lease, terms: LeaseTerms, *, lost: Lost, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lease, self._terms, self._lost, self._clock = lease, terms, lost, clock
        self._renewed: float | None = None
        self._released = threading.Event()
        self._writing = asyncio.Lock()
        #: the Lease was read at least once
        self.informed = False

    @property
    def leading(self) -> bool:
        """Whether this process holds the Lease."""
        return self._renewed is not None and not self._released.is_set()

    def fence(self) -> None:
        """To be called before every write: ends the process if its time is over, e.g. after it was frozen."""
        if self.leading and self._overdue():
            self._lost("the Lease was not renewed in time")

    async def acquire(self) -> None:
        """Wait until this process leads."""
        complained = False
        while True:
            started = self._clock()
            try:
                held = await self._lease.try_acquire()
                self.informed, complained = True, False
            except ApiError as error:
                held = False
                if not complained:
                    log.warning("cannot read or take Lease %s: %s", self._terms.name, _hint(error))
                complained = True
            if held:
                break
            await asyncio.sleep(self._pause())
        self._renewed = started
        threading.Thread(target=self._watch, name="lease-deadline", daemon=True).start()
        log.info("leading as %s", self._terms.identity)

    async def hold(self) -> None:
        """Renew until cancelled; the deadline is watched elsewhere."""
        while not self._released.is_set():
            await asyncio.sleep(self._terms.renew)
            async with self._writing:
                if not self._released.is_set():
                    await self._renew()

    async def release(self) -> None:
        """Give the Lease back; nothing may be written after this was called."""
        if not self.leading:
            return
        self._released.set()
        try:
            async with self._writing:
                await self._lease.release()
        except ApiError as error:
            log.warning("cannot release Lease %s, it will expire: %s", self._terms.name, error)

    async def _renew(self) -> None:
        started = self._clock()
        try:
            if not await self._renew_or_reread():
                self._lost(f"{self._lease.holder or 'nobody'} holds the Lease now")
                return
        except ApiError as error:
            log.warning("cannot renew Lease %s: %s", self._terms.name, error)
        else:
            self._renewed = started

    async def _renew_or_reread(self) -> bool:
        try:
            await self._lease.renew()
        except Conflict:
            # Our own write whose reply was lost looks like this too, so look before giving up.
            if not await self._lease.reread():
                return False
            await self._lease.renew()
        return True

    def _pause(self) -> float:
        expiry = self._lease.expires_in()
        return min(self._terms.poll, expiry) if expiry > 0 else self._terms.poll

    def _overdue(self) -> bool:
        return self._renewed is not None and self._clock() - self._renewed > self._terms.deadline

    def _watch(self) -> None:
        while not self._released.wait(0.25):
            if self._overdue():
                self._lost("the Lease was not renewed in time")
                return


def _hint(error: ApiError) -> str:
    if isinstance(error, Forbidden):
        return f"{error}; the operator needs get, create and update on leases in its own namespace"
    return str(error)
