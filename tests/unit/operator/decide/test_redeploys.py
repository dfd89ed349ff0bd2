"""A changed serving template: the same version in new pods, without training."""

from __future__ import annotations

from simulation import World
from stories import condition, ended, more_events

from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Kind, Phase


def test_a_changed_template_redeploys_the_same_version_without_training(first: World) -> None:
    first.spec = with_image(first.spec, "server:2")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")
    assert first.status.update and first.status.update.kind is Kind.REDEPLOY
    assert first.serving_versions == {"1"}
    assert len(first.switches) == 2
    assert first.status.champion and first.status.champion.version == "1"


def with_image(old: ModelUpdateSpec, image: str) -> ModelUpdateSpec:
    serving = old.serving.but(template={"spec": {"containers": [{"name": "server", "image": image}]}})
    return old.but(serving=serving)


def test_a_failed_redeploy_blocks_the_template_and_not_the_digest(first: World) -> None:
    first.unhealthy.add("1")
    first.spec = with_image(first.spec, "server:bad")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    ended(first, Phase.ROLLED_BACK, "HealthCheckFailed")
    assert not first.status.quarantine
    for _ in range(10):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 2
    assert condition(first, "Stalled") == "True"
    first.unhealthy.clear()
    first.request("retry/1")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")


def test_a_failed_template_is_told_also_when_updates_failed_before(first: World) -> None:
    first.verdicts |= {str(n): "Reject" for n in range(2, 30)}
    for _ in range(5):
        more_events(first)
        first.settle()
    first.unhealthy.add("1")
    first.spec = with_image(first.spec, "server:bad")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 7)
    first.settle()
    stalled = next(c for c in first.status.conditions if c.type == "Stalled")
    assert stalled.reason == "RevisionFailed"


def test_taking_back_a_template_that_failed_changes_nothing(first: World) -> None:
    good = first.spec
    first.unhealthy.add("1")
    first.spec = with_image(first.spec, "server:bad")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 2)
    first.settle()
    first.unhealthy.clear()
    first.spec = good
    for _ in range(5):
        first.step()
        first.tick(60)
    assert first.status.update and first.status.update.number == 2
    assert condition(first, "Stalled") is None
    first.spec = with_image(first.spec, "server:better")
    first.run(lambda w: w.status.update is not None and w.status.update.number == 3)
    first.settle()
    ended(first, Phase.SUCCEEDED, "Promoted")


def test_a_changed_number_of_replicas_is_no_update(first: World) -> None:
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=5))
    for _ in range(5):
        first.step()
        first.tick(2)
    assert len(first.pods_of("1")) == 5
    assert first.status.update and first.status.update.number == 1


def test_green_starts_at_the_present_size_of_blue(first: World) -> None:
    first.deployments[first.status.active.hash].replicas = 6  # type: ignore[union-attr]
    first.tick(1)
    first.spec = first.spec.but(serving=first.spec.serving.but(replicas=6))
    more_events(first)
    first.run(lambda w: w.status.phase is Phase.SWITCHING)
    assert len(first.pods_of("2")) == 6
