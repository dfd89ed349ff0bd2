"""What only the operator can see in a spec."""

from __future__ import annotations

from typing import Any

import pytest

from viridian_operator.api.check import problems
from viridian_operator.api.spec import ModelUpdateSpec


def spec(**changes: Any) -> ModelUpdateSpec:
    pod = {"spec": {"containers": [{"name": "main", "image": "image"}]}}
    good: dict[str, Any] = {
        "model": {"name": "ctr"},
        "registry": {"trackingURI": "http://mlflow:5000"},
        "trigger": {"newEvents": 100},
        "data": {"source": {"redisStream": {"url": "redis://redis:6379/0", "stream": "clicks"}}},
        "training": {"template": pod},
        "serving": {"template": pod},
    }
    return ModelUpdateSpec.model_validate(good | changes)


FOLLOWS: dict[str, Any] = {
    "strategy": "Registry",
    "follow": {"alias": "challenger"},
    "data": None,
    "training": None,
    "trigger": {},
}


STORE: dict[str, Any] = {"store": {"url": "redis://redis:6379/1"}}
ONLINE: dict[str, Any] = {"strategy": "Online", "trigger": {}, "online": STORE}


def golden(identity: str) -> dict[str, Any]:
    return {
        "serving": {"identity": identity, "template": {}},
        "rollout": {"healthChecks": [{"name": "answers", "golden": True}]},
    }


def health(**check: Any) -> dict[str, Any]:
    return {"rollout": {"healthChecks": [{"name": "slow"} | check]}}


def prometheus(**changes: Any) -> dict[str, Any]:
    check = {"url": "http://prometheus:9090", "query": "up", "max": 1} | changes
    return {"rollout": {"healthChecks": [{"name": "errors", "prometheus": check}]}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"trigger": {"schedule": "*/15 * * * *", "timeZone": "Europe/Berlin"}},
        {"strategy": "Periodic", "trigger": {"schedule": "0 3 29 2 *"}},
        {"strategy": "Periodic", "trigger": {"schedule": "0 3 * * *"}, "training": {"template": {}, "start": "Warm"}},
        {"training": {"template": {}, "start": "Warm"}},
        {"registry": {"trackingURI": "https://mlflow.example.com/base", "driftPolicy": "Restore"}},
        {"registry": {"trackingURI": "http://mlflow:5000", "externalURL": "https://mlflow.example.com/base"}},
        {"rollout": {"capacity": "Surge"}},
        {"rollout": {"capacity": "HotSwap"}},
        FOLLOWS,
        FOLLOWS | {"follow": {"version": 3, "pollInterval": "5s"}},
        ONLINE,
        ONLINE | {"online": {"store": {"persistentVolumeClaim": {"claimName": "chains"}}}},
        ONLINE | {"trigger": {"schedule": "0 3 * * *"}},
        golden("Digest"),
        prometheus(query="e{{previousRevision}} / e{{ revision }}", max=2),
        prometheus(query="e{{version}}", maxRatio=2),
        health(latency={"maxRatio": 1.5}),
        health(readyPercent=50, interval="10m"),
        prometheus(query='sum(rate(errors{pod=~"{{name}}-{{revision}}.*"}[1m]))', samplesQuery="{{ version }}"),
    ],
)
def test_good_ones(changes: dict[str, Any]) -> None:
    assert problems(spec(**changes), "ctr") == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (ONLINE | {"online": None}, "strategy Online needs online.store"),
        (ONLINE | {"online": {"store": {}}}, "online.store names exactly one store"),
        (ONLINE | {"online": {"store": {"url": "redis://"}}}, "online.store.url 'redis://' is no address"),
        (ONLINE | {"trigger": {"newEvents": 9}}, "strategy Online trains on every event at once"),
        (ONLINE | {"serving": {"identity": "ReadinessOnly", "template": {}}}, "strategy Online needs pods that tell"),
        (ONLINE | golden("Digest"), "health check answers asks golden requests of one version"),
        (ONLINE | health(latency={"max": 5}), "health check slow asks golden requests of one version"),
        ({"online": STORE}, "online belongs to strategy Online"),
        (FOLLOWS | {"follow": None}, "strategy Registry follows either an alias or a version"),
        (FOLLOWS | {"follow": {"alias": "a", "version": 1}}, "strategy Registry follows either an alias or a version"),
        (FOLLOWS | {"follow": {"alias": "champion"}}, "follow.alias champion is written by Viridian itself"),
        (FOLLOWS | {"follow": {"version": 1, "pollInterval": "4s"}}, "follow.pollInterval must be at least 5s"),
        (FOLLOWS | {"evaluation": {"template": {}}}, "strategy Registry judges with data and evaluation.template"),
        (
            {"gate": {"floors": {"aurco": 0.6}}},
            "gate.floors names an unknown metric aurco: write any of logloss, auroc",
        ),
        ({"data": None}, "strategy Incremental trains: give data"),
        ({"training": None}, "strategy Incremental trains: give data"),
        ({"data": {"source": {}}}, "data.source names no event log: give redisStream"),
        (
            {
                "data": {
                    "source": {"redisStream": {"url": "redis://r", "stream": "s"}},
                    "start": "Latest",
                    "maxEvents": 9,
                }
            },
            "data.start Latest leaves nothing that data.maxEvents could bound",
        ),
        ({"trigger": {}}, "strategy Incremental needs trigger.newEvents, schedule, watermarkAge or drift"),
        ({"strategy": "Periodic", "trigger": {"watermarkAge": "1h"}}, "strategy Periodic needs trigger.schedule"),
        (
            {"strategy": "Periodic", "trigger": {"schedule": "0 3 * * *", "newEvents": 9}},
            "strategy Periodic starts by trigger.schedule, watermarkAge and drift: leave trigger.newEvents out",
        ),
        ({"training": {"template": {}, "start": "Full"}}, "training.start Full does not go with strategy Incremental"),
        (
            ONLINE | {"training": {"template": {}, "start": "Warm"}},
            "training.start Warm does not go with strategy Online",
        ),
        ({"trigger": {"schedule": "0 25 * * *"}}, "trigger.schedule '0 25 * * *' cannot be read"),
        ({"trigger": {"schedule": "0 0 30 2 *"}}, "trigger.schedule '0 0 30 2 *' cannot be read"),
        ({"trigger": {"newEvents": 1, "jitter": "5m"}}, "trigger.jitter spreads scheduled updates"),
        ({"trigger": {"schedule": "0 3 * * *", "jitter": "25h"}}, "trigger.jitter must be at most 1d"),
        (
            {"trigger": {"newEvents": 1, "timeZone": "Europe/Atlantis"}},
            "trigger.timeZone 'Europe/Atlantis' is unknown: write an IANA name",
        ),
        ({"trigger": {"newEvents": 1, "timeZone": "../etc/passwd"}}, "trigger.timeZone '../etc/passwd' is unknown"),
        ({"trigger": {"newEvents": 1, "timeZone": ""}}, "trigger.timeZone '' is unknown"),
        ({"trigger": {"newEvents": 1, "timeZone": "Europe"}}, "trigger.timeZone 'Europe' is unknown"),
        (
            {"registry": {"trackingURI": "http://user:secret/7@mlflow:5000"}},
            "registry.trackingURI 'http://…@mlflow:5000' is no address",
        ),
        (
            {"registry": {"trackingURI": "http://mlflow:port"}},
            "registry.trackingURI 'http://mlflow:port' is no address",
        ),
        (
            {"rollout": {"capacity": "HotSwap"}, "serving": {"identity": "ReadinessOnly", "template": {}}},
            "rollout.capacity HotSwap needs pods that tell what they have loaded: set serving.identity to Digest",
        ),
        (
            {"rollout": {"capacity": "Recreate", "approval": {"mode": "Manual"}}},
            "rollout.capacity Recreate stops what serves",
        ),
        (
            {"rollout": {"bake": {"interval": "1d1s", "duration": "24h"}}},
            "rollout.bake.interval must not be longer than bake.duration",
        ),
        (
            {"rollout": {"bake": {"duration": "1d", "deadline": "23h"}}},
            "rollout.bake.deadline must not be shorter than bake.duration",
        ),
        (
            {"training": {"deadlines": {"running": "2d", "total": "47h"}, "template": {}}},
            "training.deadlines.total must not be shorter than training.deadlines.running: lengthen total",
        ),
        (
            {"evaluation": {"deadlines": {"running": "1d", "total": "1h"}}},
            "evaluation.deadlines.total must not be shorter than evaluation.deadlines.running: lengthen total",
        ),
        (golden("ReadinessOnly"), "health check answers is golden, which needs serving.identity Digest"),
        (
            {"serving": {"identity": "ReadinessOnly", "template": {}}, **health(latency={"max": 5})},
            "health check slow asks golden requests, which needs serving.identity Digest",
        ),
        (
            health(readyPercent=50, interval="11m"),
            "interval of health check slow must not be longer than bake.duration",
        ),
        (prometheus(maxRatio=2), "health check errors compares a query with itself: name {{revision}} or {{version}}"),
        (prometheus(url="http://"), "url 'http://' of health check errors is no address"),
        (prometheus(query="{{pod}}"), "health check errors asks for pod in its query: only namespace, name"),
        (
            {"serving": {"services": {"active": "x", "preview": "x"}, "template": {}}},
            "serving.services names x twice: give the preview Service another name",
        ),
    ],
)
def test_bad_ones(changes: dict[str, Any], sentence: str) -> None:
    (found,) = problems(spec(**changes), "ctr")
    assert found.startswith(sentence)


def test_all_at_once() -> None:
    bad = spec(strategy="Online", trigger={}, registry={"trackingURI": "http://mlflow:port"})
    assert len(problems(bad, "a" * 41)) == 3
