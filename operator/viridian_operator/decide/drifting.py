"""Drift: what serves has become worse, as its monitor found by scoring new events before anything trains on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Detection, ModelUpdateStatus, Trigger
from viridian_operator.decide.decision import Action, DeleteMonitor, EnsureMonitor
from viridian_operator.decide.draft import Draft


def watches_drift(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> bool:
    """Whether there should be a monitor: as soon as something serves that it can ask."""
    return spec.trigger.drift is not None and spec.data is not None and status.active is not None


def drifted(d: Draft) -> Trigger | None:
    """An update for a detection that none has answered yet."""
    if not watches_drift(d.spec, d.status):
        return None
    found = d.seen.drift.detection
    d.wake_off_drift = found.number if found else 0
    if found is None or _answered(d, found):
        return None
    moment = f"{datetime.fromtimestamp(found.event_time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    detail = (
        f"detection {found.number}, {moment}: log loss of version {found.version} rose from {found.before:.4f} to "
        f"{found.after:.4f} in {found.events} events"
    )
    return Trigger(kind=Reason.DRIFT, detail=detail, at=d.now)


def _answered(d: Draft, found: Detection) -> bool:
    """By an update that began after it, or by a champion that was trained beyond it (after status was lost).

    Numbers begin anew where the log's store has lost what the monitor wrote; time does not.
    """
    last, champion = d.status.drift, d.status.champion
    if last is not None and found.number <= last.number and found.event_time <= last.event_time:
        return True
    return champion is not None and champion.event_time is not None and champion.event_time >= found.event_time


def note_drift(d: Draft) -> None:
    """The update that starts now answers every detection so far, whatever it was started by."""
    if d.seen.drift.detection is not None:
        d.put(drift=d.seen.drift.detection)


def wanted_monitor(d: Draft) -> Iterator[Action]:
    """The monitor, or its end."""
    if watches_drift(d.spec, d.status):
        yield EnsureMonitor()
    elif d.seen.monitor is not None:
        yield DeleteMonitor()


def unwatched(d: Draft) -> tuple[Reason, str] | None:
    """Why nobody notices drift although it is asked for; None if somebody does."""
    if not watches_drift(d.spec, d.status):
        return None
    monitor = d.seen.monitor
    if monitor is None or not monitor.available:
        why = (monitor.failure if monitor else "") or "its pod is not ready"
        return Reason.MONITOR_NOT_READY, f"the drift monitor does not run: {why}"
    if d.seen.drift.error:
        return Reason.NO_LOSS, f"the drift monitor cannot tell the loss of what serves: {d.seen.drift.error}"
    return None
