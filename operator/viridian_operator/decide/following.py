"""Strategy ``Registry``: the version that ``spec.follow`` names is rolled out, though nothing is trained.

What it names is looked at in passes; who polls an alias between them is told which version is known
(``Decision.wake_off_version``).
"""

from __future__ import annotations

from datetime import timedelta

from viridian_operator.api.conditions import Reason
from viridian_operator.api.follow import Follow
from viridian_operator.api.status import Backoff, Followed, Trigger, Window
from viridian_operator.decide.backoff import backing_off, repeatedly_rejected
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.observation import LogHeads, RegisteredVersion
from viridian_operator.decide.starting import start_follow
from viridian_operator.decide.window import WindowImpossible, check_log, entries_before, from_origin, size

#: a version that is missing is looked for so often; an alias is polled
_LOOK_FOR_VERSION = timedelta(minutes=1)


def follow(d: Draft) -> None:
    """Start an update for the version that is followed, unless it serves, failed or cannot be judged yet."""
    wanted, registry = d.spec.follow, d.seen.registry
    if wanted is None:
        return
    d.put(pending_trigger=None)  # of a strategy that trained
    known = d.status.followed
    d.wake_off_version = known.version if known and wanted.alias else "" if wanted.alias else None
    if registry.unfollowed:
        d.put(followed=None)
        d.wake_off_version = "" if wanted.alias else None
        d.stalled = (
            Reason.NOTHING_TO_FOLLOW,
            f"the registry has no {wanted} of {d.spec.model.name}: set or correct it",
        )
    elif registry.followed is not None:
        d.wake_off_version = registry.followed.version if wanted.alias else None
        _consider(d, wanted, registry.followed)
    elif known is None:
        d.waiting = f"waiting for the registry to tell {wanted}: {registry.error or 'not asked yet'}"
    elif not (known.given_up or (d.status.active and d.status.active.model == known.model)):
        d.ask_again()  # it was about to be tried, which no poll of the alias tells
    if wanted.alias is None and registry.followed is None:
        d.look_at(d.now + _LOOK_FOR_VERSION)


def _consider(d: Draft, wanted: Follow, found: RegisteredVersion) -> None:
    active = d.status.active
    if not found.digest:
        d.stalled = (
            Reason.NOTHING_TO_FOLLOW,
            f"version {found.version} has neither a tag viridian.digest nor artifacts that can be listed, "
            "so it cannot be pinned: set the tag",
        )
    elif active and active.model == found.model:
        _remember(d, found)
    elif entry := d.status.quarantined(found.digest):
        d.stalled = (
            Reason.QUARANTINED,
            f"version {found.version} is in quarantine since update {entry.update}: {entry.reason}; "
            f"move the alias, or request unquarantine/{found.version}/…",
        )
    elif _remember(d, found) and _may_try(d, found):
        _try(d, wanted, found)


def _remember(d: Draft, found: RegisteredVersion) -> bool:
    """Note when a version was first seen, and what was in the log then; False while that cannot be told."""
    known, heads = d.status.followed, d.seen.heads
    if known is not None and known.model == found.model:
        return True
    if d.spec.data is not None and heads is None:
        _await_log(d, found)
        return False
    offsets = dict(heads.offsets) if d.spec.data is not None and heads is not None else {}
    followed = Followed(version=found.version, digest=found.digest, since=d.now, offsets=offsets)
    d.put(followed=followed, backoff=Backoff())
    return True


def _await_log(d: Draft, found: RegisteredVersion) -> None:
    d.waiting = f"version {found.version} waits for the event log: {d.seen.heads_error or 'not read yet'}"
    d.ask_again()


def _may_try(d: Draft, found: RegisteredVersion) -> bool:
    known = d.status.followed
    if known is not None and known.given_up:
        d.stalled = (Reason.GIVEN_UP, f"version {found.version}: {known.given_up}; move the alias or request retry/…")
        return False
    if waits := repeatedly_rejected(d):
        d.stalled = (Reason.REPEATEDLY_REJECTED, waits)
        return False
    return not backing_off(d)


def _try(d: Draft, wanted: Follow, found: RegisteredVersion) -> None:
    trigger = Trigger(kind=Reason.FOLLOWED, detail=f"which is {wanted}", at=d.now)
    if d.spec.data is None:
        start_follow(d, trigger, found, None, 0)
        return
    heads = d.seen.heads
    if heads is None:
        _await_log(d, found)
        return
    window = _unseen(d, found, heads)
    missing = _wanted_events(d) - size(window)
    if missing > 0:
        d.wake_at_total = heads.total + missing
        d.waiting = f"version {found.version} is judged after {missing} more events, which it cannot have seen"
        return
    start_follow(d, trigger, found, window, heads.total)


def _wanted_events(d: Draft) -> int:
    """Enough for a verdict; after an inconclusive one as many again."""
    return d.spec.gate.min_events * (d.status.backoff.looks + 1)


def _unseen(d: Draft, found: RegisteredVersion, heads: LogHeads) -> Window:
    """Events that neither the version nor the champion can have trained on.

    Behind where its training ended, if it says so; else behind what was in the log when it was first seen.
    """
    known, champion = d.status.followed, d.status.champion
    start = dict(known.offsets) if known else {}
    if set(found.trained_to) == set(heads.offsets):
        start = dict(found.trained_to)
    if champion and set(champion.watermark) == set(start):
        start = {p: max(o, champion.watermark[p], key=entries_before) for p, o in start.items()}
    try:
        check_log(start, heads)
    except WindowImpossible:  # another log than the one that was seen then
        start = dict(heads.offsets)
        d.put(followed=known.but(offsets=start) if known else None)
    return Window(start=from_origin(start, heads), end=dict(heads.offsets))
