"""The client against a real API server: what it promises about apply, status, preconditions and absence."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from apiserver import ApiServer

from viridian_operator.kube.access import load_access
from viridian_operator.kube.cluster import ApiCluster
from viridian_operator.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Unavailable
from viridian_operator.kube.events import EventRecorder
from viridian_operator.kube.resources import CONFIG_MAP, EVENT, MODEL_UPDATE, SERVICE, ObjectRef, Resource
from viridian_operator.kube.transport import Call

pytestmark = pytest.mark.api


def config_map(namespace: str, name: str = "x", **data: str) -> dict:
    metadata = {"namespace": namespace, "name": name, "labels": {"a": name}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def model_update(namespace: str, name: str = "ctr") -> dict:
    return {
        "apiVersion": "viridian.dev/v1alpha1",
        "kind": "ModelUpdate",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "model": {"name": "ctr"},
            "registry": {"trackingURI": "http://mlflow:5000"},
            "strategy": "Registry",
            "follow": {"alias": "challenger"},
            "suspend": True,
            "serving": {
                "replicas": 1,
                "port": 8080,
                "template": {"spec": {"containers": [{"name": "server", "image": "server:1"}]}},
            },
        },
    }


async def test_the_life_of_an_object(cluster: ApiCluster, namespace: str) -> None:
    with pytest.raises(NotFound):
        await cluster.get(CONFIG_MAP, namespace, "x")
    created = await cluster.create(config_map(namespace, k="1"))
    with pytest.raises(AlreadyExists):
        await cluster.create(config_map(namespace))
    applied = await cluster.apply(config_map(namespace, k="2"))
    assert (await cluster.get(CONFIG_MAP, namespace, "x"))["data"] == {"k": "2"}
    await cluster.patch(CONFIG_MAP, namespace, "x", {"data": {"l": "3"}})
    with pytest.raises(Conflict):
        await cluster.replace(applied)
    with pytest.raises(Conflict):
        await cluster.delete(CONFIG_MAP, namespace, "x", uid=str(uuid.uuid4()))
    assert await cluster.delete(CONFIG_MAP, namespace, "x", uid=created["metadata"]["uid"])
    assert not await cluster.delete(CONFIG_MAP, namespace, "x")


async def test_a_list_is_one_call_and_its_items_know_their_kind(cluster: ApiCluster, namespace: str) -> None:
    for name in ("a", "b", "c"):
        await cluster.create(config_map(namespace, name))
    (only,) = await cluster.list(CONFIG_MAP, namespace, {"a": "b"})
    assert (only["kind"], only["metadata"]["name"]) == ("ConfigMap", "b")
    everywhere = await cluster.list(CONFIG_MAP, None, {"a": "b"})
    assert namespace in {each["metadata"]["namespace"] for each in everywhere}


async def test_applying_takes_fields_from_others_and_drops_ours_that_are_left_out(
    cluster: ApiCluster, apiserver: ApiServer, namespace: str
) -> None:
    await cluster.apply(config_map(namespace, ours="1", shared="1"))
    path = f"{CONFIG_MAP.path(namespace, 'x')}?fieldManager=person&force=true"
    theirs = config_map(namespace, shared="theirs", their="own")
    apiserver.request("PATCH", path, theirs, content_type="application/apply-patch+yaml")
    await cluster.apply(config_map(namespace, shared="2"))
    assert (await cluster.get(CONFIG_MAP, namespace, "x"))["data"] == {"shared": "2", "their": "own"}


async def test_a_service_selector_is_replaced_as_a_whole(cluster: ApiCluster, namespace: str) -> None:
    def service(selector: dict[str, str]) -> dict:
        metadata = {"namespace": namespace, "name": "ctr"}
        spec = {"selector": selector, "ports": [{"port": 80}]}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}

    await cluster.apply(service({"revision": "blue"}))
    await cluster.patch(SERVICE, namespace, "ctr", {"spec": {"selector": {"foreign": "yes"}}})
    await cluster.apply(service({"revision": "green"}))
    assert (await cluster.get(SERVICE, namespace, "ctr"))["spec"]["selector"] == {"revision": "green"}


async def test_a_status_is_replaced_as_a_whole_and_spec_is_left_alone(cluster: ApiCluster, namespace: str) -> None:
    made = await cluster.create(model_update(namespace))
    ref = ObjectRef.of(made)
    version = made["metadata"]["resourceVersion"]
    first = await cluster.replace_status(ref, {"phase": "Training", "message": "m"}, version)
    second = await cluster.replace_status(ref, {"phase": "Idle"}, first["metadata"]["resourceVersion"])
    assert second["status"].get("phase") == "Idle"
    assert "message" not in second["status"]
    assert second["spec"] == made["spec"]
    assert second["metadata"]["generation"] == made["metadata"]["generation"]


async def test_a_status_keeps_nothing_that_somebody_else_wrote(cluster: ApiCluster, namespace: str) -> None:
    """A backup is restored by another field manager; server-side apply would keep what that one owns."""
    made = await cluster.create(model_update(namespace))
    made["status"] = {"phase": "Baking", "message": "old", "recovering": "3"}
    path = MODEL_UPDATE.path(namespace, "ctr", "status")
    backup = (("fieldManager", "a-backup"),)
    call = Call(verb="update", resource=MODEL_UPDATE, method="PUT", path=path, body=made, query=backup)
    restored = await cluster._transport.send(call)
    version = restored["metadata"]["resourceVersion"]
    written = await cluster.replace_status(ObjectRef.of(made), {"phase": "Idle"}, version)
    assert written["status"].get("phase") == "Idle"
    assert not {"message", "recovering"} & set(written["status"])


async def test_a_map_of_a_status_may_become_empty(cluster: ApiCluster, namespace: str) -> None:
    made = await cluster.create(model_update(namespace))
    ref = ObjectRef.of(made)
    full = {"phase": "Idle", "aliases": {"wanted": {"champion": "1"}, "confirmed": True}}
    first = await cluster.replace_status(ref, full, made["metadata"]["resourceVersion"])
    empty = {"phase": "Idle", "aliases": {"wanted": {}, "confirmed": True}}
    second = await cluster.replace_status(ref, empty, first["metadata"]["resourceVersion"])
    assert not second["status"]["aliases"].get("wanted")


async def test_an_unchanged_status_is_no_write(cluster: ApiCluster, namespace: str) -> None:
    made = await cluster.create(model_update(namespace))
    first = await cluster.replace_status(ObjectRef.of(made), {"phase": "Idle"}, made["metadata"]["resourceVersion"])
    version = first["metadata"]["resourceVersion"]
    again = await cluster.replace_status(ObjectRef.of(made), {"phase": "Idle"}, version)
    assert again["metadata"]["resourceVersion"] == version


async def test_a_status_from_a_stale_read_is_refused(cluster: ApiCluster, namespace: str) -> None:
    made = await cluster.create(model_update(namespace))
    await cluster.patch(MODEL_UPDATE, namespace, "ctr", {"metadata": {"annotations": {"a": "b"}}})
    with pytest.raises(Conflict):
        await cluster.replace_status(ObjectRef.of(made), {"phase": "Idle"}, made["metadata"]["resourceVersion"])


async def test_a_status_for_an_object_that_was_made_anew_is_refused(cluster: ApiCluster, namespace: str) -> None:
    old = await cluster.create(model_update(namespace))
    await cluster.delete(MODEL_UPDATE, namespace, "ctr")
    with pytest.raises(NotFound):
        await cluster.replace_status(ObjectRef.of(old), {"phase": "Idle"}, old["metadata"]["resourceVersion"])
    await cluster.create(model_update(namespace))
    with pytest.raises(Conflict):
        await cluster.replace_status(ObjectRef.of(old), {"phase": "Idle"}, old["metadata"]["resourceVersion"])


async def test_preconditions_of_an_apply(cluster: ApiCluster, namespace: str) -> None:
    made = await cluster.create(config_map(namespace, k="1"))
    stale = config_map(namespace, k="2")
    stale["metadata"]["resourceVersion"] = "1"
    with pytest.raises(Conflict):
        await cluster.apply(stale)
    other = config_map(namespace, k="2")
    other["metadata"]["uid"] = str(uuid.uuid4())
    with pytest.raises(Invalid, match="immutable"):
        await cluster.apply(other)
    same = config_map(namespace, k="2")
    same["metadata"]["uid"] = made["metadata"]["uid"]
    await cluster.apply(same)


async def test_an_invalid_object_is_refused_in_words(cluster: ApiCluster, namespace: str) -> None:
    wrong = config_map(namespace, "Not_A_Name")
    with pytest.raises(Invalid, match="Not_A_Name"):
        await cluster.apply(wrong)


async def test_a_kind_that_is_not_served_is_not_an_absent_object(cluster: ApiCluster, namespace: str) -> None:
    unknown = Resource("viridian.dev/v9", "Thing", "things")
    with pytest.raises(Unavailable):
        await cluster.get(unknown, namespace, "x")
    with pytest.raises(Unavailable):
        await cluster.list(unknown, namespace)


async def test_without_permission(apiserver: ApiServer, namespace: str) -> None:
    client = ApiCluster.connect(await load_access(str(apiserver.kubeconfig_of("operator-token"))))
    with pytest.raises(Forbidden, match=r'User "operator" cannot get resource "configmaps"'):
        await client.get(CONFIG_MAP, namespace, "x")
    await client.close()


async def test_a_wrong_token(apiserver: ApiServer, namespace: str) -> None:
    client = ApiCluster.connect(await load_access(str(apiserver.kubeconfig_of("wrong"))))
    with pytest.raises(Forbidden, match="Unauthorized"):
        await client.get(CONFIG_MAP, namespace, "x")
    await client.close()


async def test_events_are_shown_with_their_count(cluster: ApiCluster, apiserver: ApiServer, namespace: str) -> None:
    made = await cluster.create(model_update(namespace))
    recorder = EventRecorder(cluster, instance="me")
    running = asyncio.create_task(recorder.run())
    for _ in range(3):
        recorder.record(ObjectRef.of(made), reason="TrafficSwitched", message="4 serves", warning=True)
    await recorder.flush(5)
    running.cancel()
    (event,) = await cluster.list(EVENT, namespace)
    assert event["series"]["count"] == 3
    selector = "fieldSelector=involvedObject.name%3Dctr"
    (shown,) = apiserver.request("GET", f"/api/v1/namespaces/{namespace}/events?{selector}")["items"]
    assert (shown["reason"], shown["message"], shown["type"]) == ("TrafficSwitched", "4 serves", "Warning")


async def test_a_ca_that_strict_verification_refuses_needs_the_setting(tmp_path) -> None:
    server = ApiServer(tmp_path, strict_certificates=False)
    try:
        server.start()
        strict = ApiCluster.connect(await load_access(str(server.kubeconfig)), attempts=1)
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            await strict.list(CONFIG_MAP, "default")
        await strict.close()
        relaxed = ApiCluster.connect(await load_access(str(server.kubeconfig), strict_x509=False))
        await relaxed.list(CONFIG_MAP, "default")
        await relaxed.close()
    finally:
        server.stop()
