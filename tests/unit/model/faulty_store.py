"""A store of which one call goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

from viridian_model.store import Record, Store, StoreUnavailable, Versioned

Fault = Literal["Fails", "LosesReply"]
T = TypeVar("T")


class FaultyStore:
    """Calls are counted from 0; the ``at``-th one does nothing and fails, or takes effect and its answer is lost."""

    def __init__(self, store: Store, at: int | None = None, fault: Fault = "Fails") -> None:
        self._store, self.at, self._fault, self.calls = store, at, fault, 0

    def get(self, key: str) -> bytes:
        return self.call(lambda: self._store.get(key))

    def put_new(self, key: str, data: bytes) -> bool:
        return self.call(lambda: self._store.put_new(key, data))

    def keys(self, prefix: str) -> Iterator[str]:
        yield from self.call(lambda: list(self._store.keys(prefix)))

    def delete(self, key: str) -> None:
        self.call(lambda: self._store.delete(key))

    def record(self, key: str) -> Record:
        return FaultyRecord(self, self._store.record(key))

    def tidy(self) -> None:
        self.call(self._store.tidy)

    def close(self) -> None:
        self._store.close()

    def call(self, work: Callable[[], T]) -> T:
        number, self.calls = self.calls, self.calls + 1
        if number != self.at:
            return work()
        if self._fault == "LosesReply":
            work()
        raise StoreUnavailable(f"call {number} {self._fault}")


class FaultyRecord:
    def __init__(self, store: FaultyStore, record: Record) -> None:
        self._store, self._record = store, record

    def read(self) -> Versioned | None:
        return self._store.call(self._record.read)

    def compare_and_set(self, version: str | None, data: bytes) -> str:
        return self._store.call(lambda: self._record.compare_and_set(version, data))

    def wait(self, version: str | None, timeout: float) -> bool:
        return self._store.call(lambda: self._record.wait(version, timeout))
