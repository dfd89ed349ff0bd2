"""Which data the next update takes: contiguous with the champion, decided from the log and the journal only."""

from __future__ import annotations

from itertools import islice

from viridian_trainer.environment import Kind
from viridian_trainer.eventlog import EventLog, Offset, Window, read
from viridian_trainer.loop.journal import Journal, UpdateRecord
from viridian_trainer.loop.settings import LoopSettings


def next_record(log: EventLog, journal: Journal, settings: LoopSettings) -> UpdateRecord | None:
    """The update to do next, or nothing while too few entries were appended.

    A window begins where the champion's training ended, whatever was tried and rejected since then; it ends
    ``interval`` entries, in the order of training, behind the newest entry that any update has tried.
    """
    last, champion = journal.last, journal.champion
    earliest = log.earliest()
    tried = last.end if last else earliest
    end = _behind(log, tried, settings, settings.interval if last else settings.first)
    if end is None:
        return None
    kind = _kind(journal, settings)
    trained_to = champion.trained_to if champion else {}
    fresh = {name: trained_to.get(name, earliest[name]) for name in end}  # a partition may be new
    return UpdateRecord(
        number=last.number + 1 if last else 1,
        kind=kind,
        start=earliest if kind == "Full" else fresh,
        end=end,
        fresh=fresh,
        parent=champion.candidate if champion and kind == "Incremental" else None,
        look=last.look + 1 if last and last.verdict == "Inconclusive" else 1,
    )


def _kind(journal: Journal, settings: LoopSettings) -> Kind:
    if journal.champion is None:
        return "Full"
    since = 0
    for record in reversed(journal.records):
        if record.verdict == "Pass" and record.kind == "Full":
            break
        since += record.verdict == "Pass"
    return "Full" if settings.full_every and since + 1 >= settings.full_every else "Incremental"


def _behind(log: EventLog, start: dict[str, Offset], settings: LoopSettings, count: int) -> dict[str, Offset] | None:
    """The position ``count`` entries behind ``start``; a new partition begins at its first entry."""
    heads = log.heads()
    begin = {name: start.get(name, offset) for name, offset in log.earliest().items()}
    window = Window(begin, heads)
    if window.total < count:
        return None
    end = dict(begin)
    for entry in islice(read(log, window, settings.data.event_schema), count):
        end[entry.partition] = entry.offset_after
    return end
