"""Health checks of the bake that a pass looks at."""

from __future__ import annotations

from datetime import datetime

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus, Revision
from viridian_operator.decide.observation import Observation
from viridian_operator.kube.resources import Key
from viridian_operator.observe.checks.runner import CheckRunner, Findings
from viridian_operator.observe.checks.subject import PreviousRevision, Subject
from viridian_operator.observe.proofs import addresses_of, record_of
from viridian_operator.observe.sight import Raw


def find(
    seen: Observation,
    raw: Raw,
    spec: ModelUpdateSpec,
    status: ModelUpdateStatus,
    now: datetime,
    runner: CheckRunner,
) -> Findings:
    """Results that have come in; nothing is waited for.

    There are none while no pod is ready, since that alone decides the bake.
    """
    revision, update = status.active, status.update
    if revision is None or update is None or update.bake is None or seen.ready_of(revision.hash) == 0:
        return Findings()
    subject = Subject(
        namespace=seen.namespace,
        name=seen.name,
        model=spec.model.name,
        revision=revision,
        pods=seen.pods_of(revision.hash),
        wanted=update.replicas or spec.serving.replicas,
        restarts_before=update.bake.restarts,
        addresses=addresses_of(raw, spec.serving.port),
        golden=record_of(raw, revision),
        previous=_previous(seen, raw, status.previous, revision),
        since=update.bake.started_at,
    )
    about = f"{seen.uid}/{update.number}/{revision.hash}"
    return runner.turn(Key(seen.namespace, seen.name), about, spec.rollout, update.bake, subject, now)


def _previous(seen: Observation, raw: Raw, revision: Revision | None, active: Revision) -> PreviousRevision | None:
    if revision is None:
        return None
    # after a hot swap no pod serves it any more
    pods = seen.pods_of(revision.hash) if revision.hash != active.hash else ()
    return PreviousRevision(revision, pods, record_of(raw, revision))
