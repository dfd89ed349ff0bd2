"""Follows the heads of an event log, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from viridian_model.schema import Schema
from viridian_trainer.errors import DataTrimmed
from viridian_trainer.eventlog import Entry, EventLog, Offset, Window, check_present, count_before, read

#: Entries of a batch at most: what is more stays in the log, and is told as lag.
LIMIT = 4096


class Reader:
    """Gives the entries behind what was given before, in the order of training.

    A round reads up to the heads that it found when it began. Its batches are parts of one sequence, so each of them,
    read alone between its own ends, has the same order.
    """

    def __init__(self, log: EventLog, schema: Schema, offsets: Mapping[str, Offset]) -> None:
        self._log, self._schema = log, schema
        self.offsets = dict(offsets)
        self._heads = dict(offsets)
        self._round: Iterator[Entry] = iter(())

    def batch(self, timeout: float) -> list[Entry]:
        """The next entries, at most `LIMIT`, waited for up to ``timeout`` seconds.

        Raises
        ------
        DataTrimmed
            If entries that were not read yet are gone.
        LogUnreachable
            If the log does not answer; call again, nothing is skipped.
        """
        if self.lag == 0 and self._log.wait(self.offsets, timeout):
            self._begin_round()
        try:
            entries = list(islice(self._round, LIMIT))
        except BaseException:
            self._heads, self._round = dict(self.offsets), iter(())  # what was taken from the round is read again
            raise
        for entry in entries:
            self.offsets[entry.partition] = entry.offset_after
        return entries

    def again(self, to: Mapping[str, Offset]) -> list[Entry]:
        """The entries of a batch that ended at ``to`` for the partitions that it names."""
        window = Window({name: self.offsets.get(name, "0") for name in to}, to)
        entries = list(read(self._log, window, self._schema))
        self.offsets |= to
        self._heads = dict(self.offsets)
        return entries

    @property
    def lag(self) -> int:
        """Entries of the present round that were not given yet."""
        return sum(count_before(head) - count_before(self.offsets[name]) for name, head in self._heads.items())

    def behind(self) -> int:
        """Entries of the log that were not given yet.

        Raises
        ------
        DataTrimmed
            If entries that were not given yet are gone, or the log is another one.
        """
        return sum(count_before(head) - count_before(self.offsets[name]) for name, head in self._found_heads().items())

    def check(self) -> None:
        """Raise what `behind` raises, also where only the oldest entries are gone."""
        heads = self._found_heads()
        check_present(self._log, Window({name: self.offsets[name] for name in heads}, heads))

    def _found_heads(self) -> dict[str, Offset]:
        heads = self._log.heads()
        self._name_new_partitions(heads)
        for name, offset in self.offsets.items():
            if count_before(heads.get(name, "0")) < count_before(offset):
                raise DataTrimmed(
                    f"partition {name} ends before {offset}, which was read: the log was emptied or replaced"
                )
        return heads

    def _begin_round(self) -> None:
        self._heads = heads = self._found_heads()
        self._round = read(self._log, Window({name: self.offsets[name] for name in heads}, heads), self._schema)

    def _name_new_partitions(self, heads: Mapping[str, Offset]) -> None:
        if missing := set(heads) - set(self.offsets):
            earliest = self._log.earliest()
            self.offsets |= {name: earliest[name] for name in missing}
