"""Numbers of updates."""

from __future__ import annotations

from viridian_operator.api.status import ModelUpdateStatus


def next_number(status: ModelUpdateStatus) -> int:
    """One more than any update that status knows of; what Jobs and the registry know is recorded there first."""
    numbers = [entry.number for entry in status.history]
    numbers.append(int(status.seen.get("number", "0")))
    if status.update:
        numbers.append(status.update.number)
    return 1 + max(numbers)
