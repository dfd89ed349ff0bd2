"""Which trigger asks for an update now, and when to look again if none does."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from viridian_operator.api.conditions import Reason
from viridian_operator.api.status import TRAINS, Champion, Kind, Trigger
from viridian_operator.api.trigger import Concurrency
from viridian_operator.decide.backoff import backing_off, repeatedly_rejected
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.drifting import drifted
from viridian_operator.decide.hashing import inputs_hash

#: after too many failures in a row, so many times the usual number of new events count as new
MUCH_NEW_DATA = 8


def due(d: Draft) -> Trigger | None:
    """The first trigger that asks for an update now; what a person asked for waits for no back-off."""
    pending = d.status.pending_trigger
    if pending is not None and pending.kind == Reason.REQUESTED:
        return pending
    if waits := repeatedly_rejected(d):
        d.stalled = d.stalled or (Reason.REPEATEDLY_REJECTED, waits)
        return _new_events(d, factor=MUCH_NEW_DATA)
    if backing_off(d):
        return None
    return (
        pending
        or _first_model(d)
        or spec_changed(d)
        or scheduled(d)
        or drifted(d)
        or _new_events(d, factor=1)
        or _too_old(d)
    )


def _first_model(d: Draft) -> Trigger | None:
    if d.status.active is not None or d.status.champion is not None:
        return None
    if d.seen.heads is None or d.seen.heads.total == 0:
        d.ask_again()
        return None
    return Trigger(kind=Reason.FIRST_MODEL, at=d.now)


def spec_changed(d: Draft) -> Trigger | None:
    """What decides how a candidate is made was changed after the last update began."""
    seen = d.status.seen.get("inputs")
    if not d.spec.trigger.on_spec_change or seen is None or seen == inputs_hash(d.spec):
        return None
    return Trigger(kind=Reason.SPEC_CHANGED, at=d.now)


def scheduled(d: Draft) -> Trigger | None:
    """The time of the schedule has come; wakes the next pass when it will have."""
    schedule, planned = d.spec.trigger.schedule, d.status.next_scheduled
    changed = d.status.seen.get("schedule", _plan_of(d)) != _plan_of(d)
    skipped = d.spec.trigger.concurrency is Concurrency.FORBID and planned and _missed_while_busy(d, planned)
    if planned is None or changed or skipped or schedule is None:
        plan(d)
    planned = d.status.next_scheduled
    if schedule and planned and d.now >= planned:
        return Trigger(kind=Reason.SCHEDULE, detail=schedule, at=d.now)
    d.look_at(planned)
    return None


def _missed_while_busy(d: Draft, planned: datetime) -> bool:
    update = d.status.update
    if update is None or update.kind is Kind.ANCHOR:
        return False
    return update.finished_at is not None and planned <= update.finished_at


def plan(d: Draft) -> None:
    """Note the next time of the schedule, with this ModelUpdate's part of the jitter; none without a schedule."""
    trigger, seen = d.spec.trigger, {key: value for key, value in d.status.seen.items() if key != "schedule"}
    if trigger.schedule is None:
        d.put(next_scheduled=None, seen=seen)
        return
    late = jitter_of(d.seen.uid, trigger.jitter)
    following = next_time(trigger.schedule, ZoneInfo(trigger.time_zone), d.now - late) + late
    d.put(next_scheduled=following, seen={**seen, "schedule": _plan_of(d)})


def _plan_of(d: Draft) -> str:
    """What the times follow from; a change of it moves the next one."""
    trigger = d.spec.trigger
    return f"{trigger.schedule} {trigger.time_zone} {trigger.jitter or ''}".rstrip() if trigger.schedule else ""


def next_time(schedule: str, zone: ZoneInfo, after: datetime) -> datetime:
    """The first time of a cron schedule in ``zone`` behind ``after``, in UTC.

    A set time that the clocks skip comes as soon as they have, one that they repeat comes the first time only. As
    the library looks at the clock on the wall, it names the first one also to who asks between the two.
    """
    times = (moment.astimezone(UTC) for moment in CronSim(schedule, after.astimezone(zone)))
    return next(moment for moment in times if moment > after)


def jitter_of(uid: str, longest: timedelta | None) -> timedelta:
    """A part of ``longest`` in whole seconds: spread evenly over uids, and always the same for one."""
    if not longest:
        return timedelta()
    share = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8])
    return timedelta(seconds=share * int(longest.total_seconds()) >> 64)


def _new_events(d: Draft, *, factor: int) -> Trigger | None:
    wanted = d.spec.trigger.new_events
    if wanted is None:
        return None
    base = _attempted(d)
    if not _log_reaches(d, base + wanted * factor) or d.seen.heads is None:
        return None
    return Trigger(kind=Reason.NEW_EVENTS, detail=f"{d.seen.heads.total - base} new events", at=d.now)


def _attempted(d: Draft) -> int:
    """Events up to the last attempted window end, so that a bad stretch is not tried over and over."""
    attempted, champion = d.status.backoff.attempted_total, d.status.champion
    if attempted is not None:
        return attempted
    return champion.total if champion and champion.total else 0


def _log_reaches(d: Draft, total: int) -> bool:
    """Whether so many events are in the log; wakes the next pass when they are."""
    if d.seen.heads is None:
        d.ask_again()
    elif d.seen.heads.total >= total:
        return True
    d.look_when(total)
    return False


def _too_old(d: Draft) -> Trigger | None:
    """What was last trained knows of nothing newer for too long.

    At most one attempt in that time: events that are older than it when they arrive would start one each.
    """
    age, champion = d.spec.trigger.watermark_age, d.status.champion
    if age is None or champion is None:
        return None
    if champion.event_time is None:
        d.waiting = (
            f"trigger.watermarkAge cannot tell the age of version {champion.version}, which does not say of when its "
            "newest event is (tag viridian.event-time)"
        )
        return None
    limit = max(datetime.fromtimestamp(champion.event_time, UTC), _last_attempt(d, champion)) + age
    if d.now < limit:
        d.look_at(limit)
        return None
    newest = f"the newest event of version {champion.version} is of {_told(champion.event_time)}"
    if not _log_reaches(d, _attempted(d) + 1):
        d.waiting = f"{newest}, which is too old, but no event came since: an update starts with the next one"
        return None
    return Trigger(kind=Reason.WATERMARK_AGE, detail=newest, at=d.now)


def _told(event_time: float) -> str:
    return f"{datetime.fromtimestamp(event_time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _last_attempt(d: Draft, champion: Champion) -> datetime:
    """When the last training began, as far as history remembers."""
    known = (entry.started_at for entry in reversed(d.status.history) if entry.kind in TRAINS)
    return next(known, datetime.fromtimestamp(champion.event_time or 0, UTC))
