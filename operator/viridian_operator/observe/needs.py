"""What a pass has to look at beyond the children, out of spec and status alone."""

from __future__ import annotations

from dataclasses import dataclass

from viridian_operator.api.follow import Follow
from viridian_operator.api.serving import IdentityPolicy
from viridian_operator.api.spec import ModelUpdateSpec, Strategy
from viridian_operator.api.status import TRAINS, ModelUpdateStatus, Phase, Update
from viridian_operator.api.version import ModelRef
from viridian_operator.decide.capacity import swaps
from viridian_operator.decide.drifting import watches_drift
from viridian_operator.decide.retention import retention_due

#: nothing slow is asked while traffic moves or may have to move back
_SWIFT = frozenset({Phase.VERIFYING, Phase.SCALING, Phase.SWITCHING, Phase.BAKING, Phase.ROLLING_BACK})
_GREEN_PROVES = frozenset({Phase.PREPARING, Phase.VERIFYING, Phase.SCALING})
_ALL_PROVE = frozenset({Phase.SWITCHING, Phase.BAKING, Phase.ROLLING_BACK})
_GOLDEN = frozenset({Phase.VERIFYING, Phase.SCALING})
#: in a hot swap the candidate cannot be asked before it serves; loading it has answered the golden requests already
_GOLDEN_AFTER_FLIP = frozenset({Phase.SWITCHING})


@dataclass(frozen=True)
class Needs:
    """Questions of one pass.

    Attributes
    ----------
    jobs
        List the Jobs.
    heads
        Read the ends of the event log.
    drift
        Read what the drift monitor found.
    versions
        List all versions of the model, and its aliases, for retention.
    newest
        Count back from them by so many events, if the log holds more.
    aliases
        Read the registry's aliases.
    version
        Number of the version to read; "" for none.
    follow
        Read the version that it names.
    listed
        A version without a digest gets one over the list of its artifacts.
    candidate
        Read the version of the running update once its training Job is complete.
    unless_deployed
        Revision hash whose Deployment makes ``version`` needless: its golden requests are in its record.
    unless_kept
        Digest whose golden requests, if kept in the ConfigMap of a Deployment, make ``version`` needless.
    identity
        Revision hashes whose ready pods say what they serve; None: all.
    golden
        The same for golden requests.
    service
        Revision hash that the active Service should answer for, once it selects it.
    checks
        The revision bakes: its health checks are asked for as they become due.
    online
        Ask the online trainer how it stands.
    """

    jobs: bool = False
    heads: bool = False
    drift: bool = False
    versions: bool = False
    newest: int | None = None
    aliases: bool = False
    version: str = ""
    follow: Follow | None = None
    listed: bool = False
    candidate: bool = False
    unless_deployed: str = ""
    unless_kept: str = ""
    identity: frozenset[str] | None = frozenset()
    golden: frozenset[str] = frozenset()
    service: str = ""
    checks: bool = False
    online: bool = False


def needs_of(spec: ModelUpdateSpec, status: ModelUpdateStatus, *, resync: bool = False) -> Needs:
    """The questions that the present phase asks.

    Parameters
    ----------
    resync
        Also look for aliases that somebody else moved.
    """
    update = status.update if status.update and status.update.running else None
    phase = update.phase if update else Phase.IDLE
    proven = spec.serving.identity is IdentityPolicy.DIGEST
    green = frozenset({update.green.hash}) if update and update.green else frozenset()
    preparing = update.green if update and phase is Phase.PREPARING else None
    return Needs(
        jobs=phase not in _SWIFT or (phase is Phase.BAKING and _has_check_jobs(spec)),
        heads=update is None and spec.data is not None,
        drift=update is None and spec.data is not None and watches_drift(spec, status),
        versions=retention_due(spec, status),
        newest=_newest(spec, status) if update is None else None,
        aliases=phase not in _SWIFT and (_aliases(status, resync=resync) or retention_due(spec, status)),
        version=_version(spec, status, update),
        follow=_follow(spec, status) if update is None else None,
        listed=update is None and spec.strategy is Strategy.REGISTRY,
        candidate=update is not None and update.kind in TRAINS and update.candidate is None,
        unless_deployed=preparing.hash if preparing and not swaps(update) else "",
        unless_kept=preparing.digest if preparing and swaps(update) else "",
        identity=_identity(status, phase, green) if proven else frozenset(),
        golden=green if proven and _asks_golden(update, phase) else frozenset(),
        service=_service(status, update) if proven else "",
        checks=phase is Phase.BAKING,
        online=status.online is not None,
    )


def _asks_golden(update: Update | None, phase: Phase) -> bool:
    """Who follows a chain answers with the weights of the moment, and asks the golden requests of each delta itself."""
    if update is None or update.green is None or update.green.chain:
        return False
    return phase in (_GOLDEN_AFTER_FLIP if swaps(update) else _GOLDEN)


def _newest(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> int | None:
    """Counting takes the log's time, so it is done when a first window can start, and never again."""
    if spec.data is None or status.origin or status.recovering or spec.suspend or spec.pin:
        return None
    return spec.data.max_events


def _aliases(status: ModelUpdateStatus, *, resync: bool) -> bool:
    if status.recovering:
        return True
    return bool(status.aliases.wanted) and (resync or not status.aliases.confirmed)


def _version(spec: ModelUpdateSpec, status: ModelUpdateStatus, update: Update | None) -> str:
    if status.recovering:
        return status.recovering
    if update is None and spec.pin is not None:
        wanted = str(spec.pin.version)
        return "" if status.active and status.active.version == wanted else wanted
    if update is not None and update.phase is Phase.PREPARING and update.green:
        return update.green.version
    if update is None and status.owed_tags:
        return status.owed_tags[0].version
    if update is None and status.online is not None and status.online.pending is not None:
        return _unless_champion(status, status.online.pending)
    return ""


def _unless_champion(status: ModelUpdateStatus, anchor: ModelRef) -> str:
    """An anchor is read until it is judged."""
    return "" if status.champion and status.champion.digest == anchor.digest else anchor.version


def _follow(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> Follow | None:
    if spec.strategy is not Strategy.REGISTRY or status.recovering or spec.suspend or spec.pin:
        return None
    return spec.follow


def _identity(status: ModelUpdateStatus, phase: Phase, green: frozenset[str]) -> frozenset[str] | None:
    """Pods that take versions say in every pass which one they serve: one that restarted may have to be told."""
    if phase in _ALL_PROVE:
        return None
    swappable = frozenset(each.hash for each in (status.active, status.previous) if each and each.swappable)
    return swappable | (green if phase in _GREEN_PROVES else frozenset())


def _service(status: ModelUpdateStatus, update: Update | None) -> str:
    if update is None:
        return ""
    if update.phase is Phase.SWITCHING and update.green:
        return update.green.hash
    if update.phase is Phase.ROLLING_BACK and status.previous:
        return status.previous.hash
    return ""


def _has_check_jobs(spec: ModelUpdateSpec) -> bool:
    return any(check.job is not None for check in spec.rollout.health_checks)
