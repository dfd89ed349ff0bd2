"""Series of single ModelUpdates: what they say, and that they go with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from prometheus_client import generate_latest

from viridian_operator.api.online_status import OnlineStatus, Replica
from viridian_operator.api.version import ModelRef
from viridian_operator.kube.resources import Key
from viridian_operator.runtime.metrics import Metrics

KEY = Key("recsys", "ctr")
LABELS = {"namespace": "recsys", "name": "ctr"}


def value(metrics: Metrics, name: str, **labels: Any) -> float | None:
    return metrics.registry.get_sample_value(name, LABELS | labels)


def test_counts_of_trainings_add_up_and_unknown_ones_are_left_out() -> None:
    metrics = Metrics()
    metrics.events_trained(KEY, {"trained": 900, "rejected": 3, "duplicates": 2, "somebody's own": 7})
    metrics.events_trained(KEY, {"rejected": 4})
    assert value(metrics, "viridian_training_events_total", count="rejected") == 7
    assert value(metrics, "viridian_training_events_total", count="trained") == 900
    assert value(metrics, "viridian_training_events_total", count="somebody's own") is None


def test_a_model_is_stale_or_not_only_where_there_is_a_limit() -> None:
    metrics = Metrics()
    metrics.model_stale(KEY, None)
    assert value(metrics, "viridian_model_stale") is None
    metrics.model_stale(KEY, True)
    assert value(metrics, "viridian_model_stale") == 1
    metrics.model_stale(KEY, False)
    assert value(metrics, "viridian_model_stale") == 0
    metrics.model_stale(KEY, None)
    assert value(metrics, "viridian_model_stale") is None


def online(**changes: Any) -> OnlineStatus:
    fields = {"chain": "c", "parent": ModelRef(version="1", digest="sha256:1"), "state": "Publishing", "lag_seconds": 9}
    return OnlineStatus(**(fields | changes))


def replica(pod: str, repaired: int) -> Replica:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    return Replica(pod=pod, version="1", sequence="1.7", repaired=repaired, since=since)


def test_what_is_trained_online_is_told_as_long_as_it_is() -> None:
    metrics, name = Metrics(), "viridian_model_online"
    metrics.online.told(KEY, online(replicas=[replica("a", 2), replica("b", 1)]))
    assert value(metrics, f"{name}_publishing") == 1
    assert value(metrics, f"{name}_lag_seconds") == 9
    assert value(metrics, f"{name}_repairs") == 3
    metrics.online.told(KEY, online(state="Shadow", lag_seconds=0, replicas=[replica("c", 0)]))
    assert value(metrics, f"{name}_publishing") == 0
    assert value(metrics, f"{name}_lag_seconds") == 0
    assert value(metrics, f"{name}_repairs") == 0
    metrics.online.told(KEY, None)
    assert b'name="ctr"' not in generate_latest(metrics.registry)


def test_a_model_update_that_is_gone_leaves_no_series() -> None:
    metrics = Metrics()
    metrics.events_trained(KEY, {"trained": 900, "late": 1})
    metrics.model_stale(KEY, True)
    metrics.model_event_time(KEY, 1.0)
    metrics.online.told(KEY, online())
    metrics.invariants_violated(KEY, ["GatePassed"])
    metrics.forget(KEY)
    assert b'name="ctr"' not in generate_latest(metrics.registry)
    metrics.forget(KEY)
