"""The server as kubelet sees it: phases, exit codes, drain."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable

import pytest
from pod import BODY, DEADLINE, INFER, Process, Site, exchange, until

Start = Callable[..., Process]


def test_serves_from_the_store_without_a_registry_and_drains(site: Site, start: Start) -> None:
    digest = site.stored()
    server = start(VIRIDIAN_DRAIN_SECONDS="60", VIRIDIAN_FAULT='{"slow": 0.5}')
    status, identity = server.get("/viridian/v1/identity")
    assert (status, identity["ready"], identity["digest"]) == (200, False, digest)
    server.wait_ready()
    phases = [entry["phase"] for entry in server.said("load phase ended")]
    assert phases == ["Fetching", "Verifying", "Loading", "WarmingUp"]
    assert server.get("/viridian/v1/identity")[1]["phase"] == "Ready"

    kept, in_flight = server.connect(), server.connect()
    status, headers, body = exchange(kept, "POST", INFER, BODY)
    assert (status, headers["x-model-digest"], headers.get("Connection")) == (200, digest, None)
    server.terminate()
    until(lambda: server.get("/v2/health/ready")[0] == 503)
    # Not ready, but a client that has not noticed yet is still served and asked to leave.
    status, headers, again = exchange(kept, "POST", INFER, BODY)
    assert (status, headers["Connection"], again) == (200, "close", body)

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(exchange(in_flight, "POST", INFER, BODY)[0]))
    thread.start()
    until(lambda: "viridian_requests_in_flight 1.0" in metrics(server))
    server.terminate()  # the second signal ends the drain
    thread.join(DEADLINE)
    assert results == [200]
    assert server.wait() == 0
    assert not site.termination_log.exists()


def metrics(server: Process) -> str:
    connection = server.connect()
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_another_golden_answer_ends_the_process(site: Site, start: Start) -> None:
    digest = site.stored()
    path = site.store / digest.removeprefix("sha256:") / "golden.json"
    golden = json.loads(path.read_bytes())
    golden["requests"][0]["outputs"][0]["data"][0] += 0.01
    (site.revision / "golden.json").write_text(json.dumps(golden))
    assert start().wait() == 65
    error = site.last_words()
    assert error["reason"] == "WarmupFailed"
    assert "golden request 0: probability[0]" in error["message"]


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"VIRIDIAN_PORT": "tcp://10.0.0.1:80"}, "enableServiceLinks: false"),
        ({"VIRIDIAN_FAULT": '{"crash": 1}'}, "VIRIDIAN_FAULT"),
        ({"VIRIDIAN_REVISION_DIR": "/nowhere"}, "/nowhere/revision.json cannot be read"),
    ],
)
def test_bad_configuration_says_what_is_wrong(site: Site, start: Start, env: dict, says: str) -> None:
    site.stored()
    assert start(**env).wait() == 78
    assert site.last_words()["reason"] == "BadConfig"
    assert says in site.last_words()["message"]


def test_without_store_entry_and_registry_there_is_nothing_to_serve(site: Site, start: Start) -> None:
    site.want("sha256:" + "0" * 64)
    assert start().wait() == 78
    assert "MLFLOW_TRACKING_URI is not set" in site.last_words()["message"]


def test_an_unreachable_registry_is_a_temporary_failure(site: Site, start: Start) -> None:
    site.want("sha256:" + "0" * 64)
    server = start(MLFLOW_TRACKING_URI="http://127.0.0.1:9", VIRIDIAN_FETCH_TIMEOUT="1")
    assert server.wait() == 75
    assert site.last_words()["reason"] == "RegistryUnreachable"
    assert os.listdir(site.store) == []


def test_sigterm_while_loading_ends_at_once(site: Site, start: Start) -> None:
    site.want("sha256:" + "0" * 64)
    server = start(MLFLOW_TRACKING_URI="http://127.0.0.1:9", VIRIDIAN_FETCH_TIMEOUT="600")
    assert server.get("/v2/health/ready")[0] == 503
    server.terminate()
    assert server.wait() == 0


def test_injected_faults_happen_after_ready(site: Site, start: Start) -> None:
    site.stored()
    fault = {"fail_after": {"seconds_ready": 0, "status": 500}, "unready_after": 0, "crash_after_ready": 2}
    server = start(VIRIDIAN_FAULT=json.dumps(fault))
    until(lambda: server.get("/viridian/v1/identity")[1]["phase"] == "Ready")
    assert server.get("/v2/health/ready")[0] == 503
    assert exchange(server.connect(), "POST", INFER, BODY)[0] == 500
    assert server.wait() == 1
