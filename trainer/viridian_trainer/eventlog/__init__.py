"""Event logs: append-only partitions, read between exact offsets."""

from viridian_trainer.eventlog.log import EventLog, Record, check_present
from viridian_trainer.eventlog.merge import Entry, read
from viridian_trainer.eventlog.offset import Offset, Window, count_before
from viridian_trainer.eventlog.schema import Event

__all__ = [
    "Entry",
    "Event",
    "EventLog",
    "Offset",
    "Record",
    "Window",
    "check_present",
    "count_before",
    "read",
]
