"""What the client makes of bad answers: typed errors, bounded repetition, never absence by mistake."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import unquote

import pytest
from scripted_server import ScriptedServer, dropped, ok, plain, status

from viridian_operator.kube.cluster import ApiCluster
from viridian_operator.kube.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Unavailable,
)
from viridian_operator.kube.resources import CONFIG_MAP, JOB, MODEL_UPDATE, ObjectRef

THING = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "n", "name": "x"}}


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (status(400, "BadRequest", "no"), Invalid),
        (status(401, "Unauthorized", "no"), Forbidden),
        (status(403, "Forbidden", "no"), Forbidden),
        (status(404, "NotFound", 'jobs.batch "x" not found'), NotFound),
        (status(409, "Conflict", "modified"), Conflict),
        (status(409, "AlreadyExists", "exists"), AlreadyExists),
        (status(413, "RequestEntityTooLarge", "big"), Invalid),
        (status(422, "Invalid", "spec.x: must be positive"), Invalid),
        (status(429, "TooManyRequests", "slow down"), Unavailable),
        (status(500, "InternalError", "etcd"), Unavailable),
        (status(503, "ServiceUnavailable", "starting"), Unavailable),
        (plain(502, "bad gateway"), Unavailable),
        (plain(404, "404 page not found"), Unavailable),
        (status(404, "NotFound", "the server could not find the requested resource", name=None), Unavailable),
        (plain(200, "<html>a captive portal</html>"), Unavailable),
        (dropped, Unavailable),
    ],
)
async def test_every_bad_answer_has_its_type(server, cluster: ApiCluster, step, error: type[ApiError]) -> None:
    server.then(step)
    with pytest.raises(ApiError) as caught:
        await cluster.get(JOB, "n", "x")
    assert type(caught.value) is error


async def test_the_servers_sentence_is_the_message(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.then(status(422, "Invalid", "spec.replicas: must be positive"))
    with pytest.raises(Invalid, match=r"^spec.replicas: must be positive$"):
        await cluster.apply(THING)


async def test_a_passing_fault_is_not_seen(server, cluster: ApiCluster, counted) -> None:
    server.then(status(500, "InternalError", "etcd"), plain(502, "bad gateway"), ok(THING))
    assert await cluster.get(CONFIG_MAP, "n", "x") == THING
    assert counted == [("get", "configmaps", "500"), ("get", "configmaps", "502"), ("get", "configmaps", "200")]


async def test_tries_are_bounded(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.then(status(500, "InternalError", "etcd"))
    with pytest.raises(Unavailable):
        await cluster.apply(THING)
    assert len(server.seen) == 3


async def test_a_creation_whose_reply_is_lost_is_not_repeated(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.then(dropped)
    with pytest.raises(Unavailable):
        await cluster.create(THING)
    assert len(server.seen) == 1


async def test_a_creation_that_was_refused_unread_is_repeated(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.then(status(429, "TooManyRequests", "slow down", **{"Retry-After": "0"}), ok(THING))
    await cluster.create(THING)
    assert len(server.seen) == 2


async def test_retry_after_is_obeyed(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.then(status(429, "TooManyRequests", "slow down", **{"Retry-After": "1"}), ok(THING))
    started = time.monotonic()
    await cluster.get(CONFIG_MAP, "n", "x")
    assert time.monotonic() - started >= 1


async def test_a_server_that_never_answers_is_given_up(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.hang = asyncio.Event()
    with pytest.raises(Unavailable, match=r"within 0.2 s"):
        await cluster.within(timeout=0.2).get(JOB, "n", "x")


async def test_a_server_that_is_not_there(server: ScriptedServer) -> None:
    from kubernetes.aio.client import Configuration

    nobody = ApiCluster.connect(Configuration(host="http://127.0.0.1:1"), timeout=1, attempts=1)
    with pytest.raises(Unavailable, match="cannot connect"):
        await nobody.create(THING)
    await nobody.close()


async def test_deleting_what_is_gone_is_no_error_but_an_unserved_kind_is(
    server: ScriptedServer, cluster: ApiCluster
) -> None:
    server.then(status(404, "NotFound", "gone"))
    assert await cluster.delete(JOB, "n", "x") is False
    server.then(plain(404, "404 page not found"))
    with pytest.raises(Unavailable):
        await cluster.delete(JOB, "n", "x")


async def test_requests_say_who_asks_and_carry_preconditions(server: ScriptedServer, cluster: ApiCluster) -> None:
    server.then(ok({}))
    await cluster.delete(JOB, "n", "x", uid="u-1", propagation="Foreground")
    await cluster.replace_status(ObjectRef(MODEL_UPDATE, "n", "ctr", "u-2"), {"phase": "Idle"}, "17")
    await cluster.list(JOB, "n", {"b": "2", "a": "1"})
    (_, path, headers, body), (method, status_path, _, replaced), (_, listing, _, _) = server.seen
    assert headers["User-Agent"].startswith("viridian-operator/")
    assert path == "/apis/batch/v1/namespaces/n/jobs/x"
    assert (body["preconditions"], body["propagationPolicy"]) == ({"uid": "u-1"}, "Foreground")
    assert method == "PUT"
    assert status_path.startswith("/apis/viridian.dev/v1alpha1/namespaces/n/modelupdates/ctr/status?")
    assert "fieldManager=viridian-operator" in status_path
    assert replaced["metadata"] == {"namespace": "n", "name": "ctr", "uid": "u-2", "resourceVersion": "17"}
    assert unquote(listing).endswith("/jobs?labelSelector=a=1,b=2")


async def test_nothing_is_written_behind_the_fence(server: ScriptedServer, cluster: ApiCluster) -> None:
    class Over(Exception):
        pass

    def fence() -> None:
        raise Over

    server.then(ok(THING))
    fenced = cluster.fenced(fence)
    await fenced.get(CONFIG_MAP, "n", "x")
    with pytest.raises(Over):
        await fenced.apply(THING)
    with pytest.raises(Over):
        await fenced.delete(CONFIG_MAP, "n", "x")
    assert [method for method, *_ in server.seen] == ["GET"]
