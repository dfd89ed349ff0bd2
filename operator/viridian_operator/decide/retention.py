"""Versions that the registry need not keep any more: only ones that this ModelUpdate trained, and none in use.

The registry is listed once after every update, and again until nothing is left to delete.
"""

from __future__ import annotations

from collections.abc import Iterator

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus
from viridian_operator.decide.decision import DeleteVersion
from viridian_operator.decide.draft import Draft
from viridian_operator.decide.observation import RegisteredVersion
from viridian_operator.decide.tags import LIFTED, QUARANTINE

#: deletions of one pass, and seconds until the next
AT_ONCE, PAUSE = 10, 30.0


def retention_due(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> bool:
    """Whether the registry is to be listed: an update ended, or the limit was changed, since it was last clean."""
    update = status.update
    if spec.registry.retention is None or status.recovering or status.champion is None:
        return False
    return update is not None and not update.running and status.swept != _mark(spec, status)


def _mark(spec: ModelUpdateSpec, status: ModelUpdateStatus) -> str:
    versions = spec.registry.retention.versions if spec.registry.retention else 0
    return f"{status.update.number if status.update else 0}/{versions}"


def unwanted_versions(d: Draft) -> Iterator[DeleteVersion]:
    """Delete the oldest versions beyond the limit; what cannot be told is kept."""
    if not retention_due(d.spec, d.status):
        return
    registry, limit = d.seen.registry, d.spec.registry.retention
    if registry.everything is None or registry.aliases is None or limit is None:
        d.ask_again()
        return
    own = [version for version in registry.everything if version.update.startswith(f"{d.seen.uid}/")]
    newest_first = sorted(own, key=lambda version: int(version.version), reverse=True)
    used = _in_use(d)
    beyond = [version for version in newest_first[limit.versions :] if not _kept(d, version, used)]
    if not beyond:
        d.put(swept=_mark(d.spec, d.status))
        return
    d.look_after(PAUSE)
    for version in beyond[::-1][:AT_ONCE]:
        yield DeleteVersion(version=version.version)


def _in_use(d: Draft) -> set[str]:
    """What serves, stands by or is judged against, and whatever an alias names, whoever set it."""
    s = d.status
    known = (s.active, s.preview, s.previous, s.champion, s.previous_champion, s.reference, s.followed)
    used = {part.version for part in known if part is not None}
    used |= {deployment.version for deployment in d.seen.deployments}
    used |= set(s.aliases.wanted.values()) | set((d.seen.registry.aliases or {}).values())
    used |= {tag.version for tag in s.owed_tags}
    if s.online is not None:
        used |= {part.version for part in (s.online.parent, s.online.pending) if part is not None}
    if s.update is not None and s.update.candidate is not None:
        used.add(s.update.candidate.version)
    if d.spec.pin is not None:
        used.add(str(d.spec.pin.version))
    return used


def _kept(d: Draft, version: RegisteredVersion, used: set[str]) -> bool:
    """In use, or evidence of why something was put into quarantine."""
    quarantined = version.tags.get(QUARANTINE, LIFTED) != LIFTED or d.status.quarantined(version.digest) is not None
    return version.version in used or quarantined
