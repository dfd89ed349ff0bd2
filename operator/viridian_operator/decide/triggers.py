"""Between updates: whether one should start, and when to look again."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from viridian_operator.api.conditions import Reason
from viridian_operator.api.spec import Concurrency, Strategy
from viridian_operator.api.status import TRAINS, Phase, Trigger
from viridian_operator.decide.backoff import backing_off, repeatedly_rejected
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.ending import finish
from viridian_operator.decide.following import follow
from viridian_operator.decide.hashing import inputs_hash, revision_hash, template_hash
from viridian_operator.decide.starting import start_pin, start_redeploy, start_training

#: after too many failures in a row, so many times the usual number of new events count as new
MUCH_NEW_DATA = 8
#: phases in which a newer trigger may still replace the update
_REPLACEABLE = frozenset({Phase.QUEUED, Phase.TRAINING, Phase.EVALUATING, Phase.PREPARING, Phase.VERIFYING})


def idle(d: Draft) -> None:
    """Start what is due; otherwise say when to look again."""
    if d.seen.deleting or d.status.recovering:
        return
    _forget_pin(d)
    if d.spec.pin is not None:
        _pinned(d)
    elif _redeploy_due(d):
        start_redeploy(d, Trigger(kind=Reason.TEMPLATE_CHANGED, at=d.now))
    elif d.spec.suspend:
        return
    elif d.spec.strategy is Strategy.REGISTRY:
        follow(d)
    else:
        _train_if_due(d)


def _forget_pin(d: Draft) -> None:
    """That a pin was tried says something about a later one only while it is set and in vain."""
    pin, active = d.spec.pin, d.status.active
    if "pin" in d.status.seen and (pin is None or (active and active.version == str(pin.version))):
        d.put(seen={key: value for key, value in d.status.seen.items() if key != "pin"})


def _pinned(d: Draft) -> None:
    pin, active = d.spec.pin, d.status.active
    if pin is None or (active and active.version == str(pin.version)):
        return
    if d.status.seen.get("pin") == str(pin.version):
        d.stalled = (
            Reason.PIN_FAILED,
            f"version {pin.version} could not be rolled out; change the pin or request retry/…",
        )
        return
    registry = d.seen.registry
    if registry.lacks(f"version:{pin.version}"):
        d.stalled = (Reason.PIN_FAILED, f"the registry has no version {pin.version} of {d.spec.model.name}")
    elif registry.version is None or registry.version.version != str(pin.version):
        d.ask_again()
    elif not registry.version.digest:
        d.stalled = (
            Reason.PIN_FAILED,
            f"version {pin.version} carries no tag viridian.digest, so it cannot be proven",
        )
    else:
        d.put(seen={**d.status.seen, "pin": str(pin.version)})
        start_pin(d, Trigger(kind=Reason.PINNED, detail=pin.reason, at=d.now), registry.version)


def _redeploy_due(d: Draft) -> bool:
    active, template = d.status.active, template_hash(d.spec.serving)
    if active is None:
        return False
    if d.status.failed_revision == revision_hash(active.version, active.digest, template):
        d.stalled = (Reason.REVISION_FAILED, "the new serving template failed; change it or request retry/…")
        return False
    if template == active.template_hash:
        # also after a failed one was taken back: what is wanted serves already
        d.put(seen={**d.status.seen, "template": template})
    return d.status.seen.get("template", template) != template


def _train_if_due(d: Draft) -> None:
    trigger = d.status.pending_trigger or due(d)
    if trigger is None:
        return
    d.put(seen={**d.status.seen, "inputs": inputs_hash(d.spec)}, next_scheduled=next_run(d, d.now))
    start_training(d, trigger, full=trigger.detail == "full")


def due(d: Draft) -> Trigger | None:
    """The first trigger that asks for an update now."""
    if waits := repeatedly_rejected(d):
        d.stalled = d.stalled or (Reason.REPEATEDLY_REJECTED, waits)
        return _new_events(d, factor=MUCH_NEW_DATA)
    if backing_off(d):
        return None
    return _first_model(d) or _spec_changed(d) or _scheduled(d) or _new_events(d, factor=1)


def _first_model(d: Draft) -> Trigger | None:
    if d.status.active is not None or d.status.champion is not None:
        return None
    if d.seen.heads is None or d.seen.heads.total == 0:
        d.ask_again()
        return None
    return Trigger(kind=Reason.FIRST_MODEL, at=d.now)


def _spec_changed(d: Draft) -> Trigger | None:
    seen = d.status.seen.get("inputs")
    if not d.spec.trigger.on_spec_change or seen is None or seen == inputs_hash(d.spec):
        return None
    return Trigger(kind=Reason.SPEC_CHANGED, at=d.now)


def _scheduled(d: Draft) -> Trigger | None:
    if d.spec.trigger.schedule is None:
        return None
    scheduled = d.status.next_scheduled
    if scheduled is None or (d.spec.trigger.concurrency is Concurrency.FORBID and _missed_while_busy(d, scheduled)):
        scheduled = next_run(d, d.now)
        d.put(next_scheduled=scheduled)
    if scheduled and d.now >= scheduled:
        return Trigger(kind=Reason.SCHEDULE, detail=d.spec.trigger.schedule, at=d.now)
    d.look_at(scheduled)
    return None


def _missed_while_busy(d: Draft, scheduled: datetime) -> bool:
    update = d.status.update
    return update is not None and update.finished_at is not None and scheduled <= update.finished_at


def next_run(d: Draft, after: datetime) -> datetime | None:
    """The next time of the schedule, with this ModelUpdate's part of the jitter; None without one."""
    schedule = d.spec.trigger.schedule
    if schedule is None:
        return None
    zone, late = ZoneInfo(d.spec.trigger.time_zone), jitter_of(d.seen.uid, d.spec.trigger.jitter)
    following: datetime = next(CronSim(schedule, (after - late).astimezone(zone)))
    return following.astimezone(d.now.tzinfo) + late


def jitter_of(uid: str, longest: timedelta | None) -> timedelta:
    """A part of ``longest`` in whole seconds: spread evenly over uids, and always the same for one."""
    if not longest:
        return timedelta()
    share = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8])
    return timedelta(seconds=share * int(longest.total_seconds()) >> 64)


def _new_events(d: Draft, *, factor: int) -> Trigger | None:
    """Counts from the last attempted window end, so that a bad stretch is not tried over and over."""
    wanted, heads = d.spec.trigger.new_events, d.seen.heads
    if wanted is None or d.spec.strategy is Strategy.PERIODIC:
        return None
    base = d.status.backoff.attempted_total
    if base is None:
        base = d.status.champion.total if d.status.champion and d.status.champion.total else 0
    threshold = base + wanted * factor
    if heads is None:
        d.ask_again()
    elif heads.total >= threshold:
        return Trigger(kind=Reason.NEW_EVENTS, detail=f"{heads.total - base} new events", at=d.now)
    d.wake_at_total = threshold
    return None


def supersede(d: Draft) -> None:
    """``concurrency: Replace``: a newer trigger ends an update that has not begun to switch."""
    update = d.update
    if d.spec.trigger.concurrency is not Concurrency.REPLACE or update.phase not in _REPLACEABLE:
        return
    if update.kind not in TRAINS:
        return
    if trigger := _spec_changed(d) or _scheduled(d):
        finish(d, Phase.SUPERSEDED, Reason.SUPERSEDED, f"replaced by a newer trigger: {trigger.kind}")
        d.put(pending_trigger=trigger)
