"""Services, endpoints, Deployments and registry versions out of their raw form."""

from __future__ import annotations

from typing import Any

import pytest
from applying_cluster import OWNER, revision, spec

from viridian_operator.act.manifests.deployment import deployment
from viridian_operator.act.manifests.revision import sized
from viridian_operator.act.manifests.service import service
from viridian_operator.api import names
from viridian_operator.decide.decision import EnsureService
from viridian_operator.observe.deployments import deployment_view
from viridian_operator.observe.endpoints import SERVICE_NAME, ready_revisions
from viridian_operator.observe.registered import registered
from viridian_operator.observe.services import service_url, service_view
from viridian_operator.registry.versions import ModelVersion


def pod(name: str, hash_: str, ip: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {names.REVISION: hash_}}, "status": {"podIP": ip}}


def endpoint(name: str | None, ip: str, ready: bool | None = True) -> dict[str, Any]:
    found: dict[str, Any] = {"addresses": [ip], "conditions": {} if ready is None else {"ready": ready}}
    return found | ({"targetRef": {"kind": "Pod", "name": name}} if name else {})


PODS = [pod("a", "h1", "10.0.0.1"), pod("b", "h2", "10.0.0.2")]


@pytest.mark.parametrize(
    ("endpoints", "revisions"),
    [
        ([endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")], ("h1", "h2")),
        ([endpoint("a", "10.0.0.1", ready=False)], ()),
        ([endpoint("a", "10.0.0.1", ready=None)], ("h1",)),
        ([endpoint(None, "10.0.0.2")], ("h2",)),
        ([endpoint("stranger", "10.0.0.9")], ("",)),
        ([endpoint("stranger", "10.0.0.1")], ("",)),
        (None, ()),
    ],
)
def test_endpoints(endpoints: list[dict[str, Any]] | None, revisions: tuple[str, ...]) -> None:
    ours = {"metadata": {"labels": {SERVICE_NAME: "ctr"}}, "endpoints": endpoints}
    other = {"metadata": {"labels": {SERVICE_NAME: "ctr-preview"}}, "endpoints": [endpoint("b", "10.0.0.2")]}
    assert ready_revisions("ctr", [ours, other], PODS) == revisions


@pytest.mark.parametrize(
    ("selector", "found", "foreign"),
    [
        ({names.MODEL_UPDATE: "ctr", names.REVISION: "h1"}, "h1", False),
        ({names.MODEL_UPDATE: "ctr", names.REVISION: "h1", "extra": "x"}, "h1", True),
        ({names.MODEL_UPDATE: "other", names.REVISION: "h1"}, None, True),
        ({"app": "mine"}, None, True),
        ({}, None, False),
    ],
)
def test_selectors(selector: dict[str, str], found: str | None, foreign: bool) -> None:
    manifest = service(spec(), OWNER, EnsureService("ctr", "active", "h1"), 8080)
    manifest["spec"] |= {"selector": selector, "clusterIP": "10.96.0.9"}
    view = service_view(manifest, (), (), name="ctr", uid="uid-1")
    assert (view.revision, view.foreign, view.owned, view.cluster_ip) == (found, foreign, True, "10.96.0.9")
    assert service_url(manifest) == "http://10.96.0.9:80"


def test_a_service_of_somebody_else_is_not_owned() -> None:
    manifest = service(spec(), OWNER, EnsureService("ctr", "active", "h1"), 8080)
    assert not service_view(manifest, (), (), name="ctr", uid="another life").owned
    manifest["metadata"] |= {"ownerReferences": [], "labels": {}}
    assert not service_view(manifest, (), (), name="ctr", uid="uid-1").owned
    manifest["metadata"]["annotations"] = {names.ANNOTATION_ADOPT: "ctr"}
    assert service_view(manifest, (), (), name="ctr", uid="uid-1").owned


def test_a_deployment_is_read_back_as_the_revision_that_it_was_made_for() -> None:
    manifest = sized(deployment(spec(), OWNER, revision()), spec(), OWNER, replicas=3, role="active")
    manifest["metadata"] |= {"generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z"}
    manifest["status"] = {"observedGeneration": 1}
    view = deployment_view(manifest)
    wanted = revision()
    assert view is not None
    assert (view.revision, view.version, view.digest) == (wanted.hash, wanted.version, wanted.digest)
    assert (view.colour, view.template_hash, view.event_time) == ("blue", "t1", wanted.event_time)
    assert (view.replicas, view.current) == (3, False)
    assert deployment_view({"metadata": {"name": "x"}}) is None


def test_registered_versions_with_good_and_bad_tags() -> None:
    tags = {
        "viridian.update": "uid-1/7",
        "viridian.digest": "sha256:d",
        "viridian.window": '{"from":{"0":"0@0-0"},"to":{"0":"9@1-0"}}',
        "viridian.trained-to": '{"0":"8@1-0"}',
        "viridian.event-time": "5.5",
        "viridian.golden": '{"requests":[]}',
    }
    found = registered(ModelVersion(model="ctr", version="4", tags=tags))
    assert found.window is not None
    assert found.window.end == {"0": "9@1-0"}
    assert (found.trained_to, found.event_time, found.golden) == ({"0": "8@1-0"}, 5.5, '{"requests":[]}')
    broken = registered(ModelVersion(model="ctr", version="4", tags=dict.fromkeys(tags, "{")))
    assert (broken.window, broken.trained_to, broken.event_time, broken.golden) == (None, {}, None, "")
