"""The operator itself: replaced in the middle of an update, idle, small, and away altogether."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from loop.appending import Stream
from loop.callers import Caller
from loop.following import Following
from loop.installing import RELEASE, SYSTEM, install, wait_ready
from loop.manifests import NAME, merged, model_update, pod, server
from loop.operator_pods import SELECTOR, Replica, Requests, holder, replicas
from loop.registry import mlflow
from loop.serving import ended, last_number, serve_first, served
from loop.space import Space
from loop.waiting import steady, until
from viridian_demo.commands import Tools
from viridian_demo.install import image

IDLE = 100
QUIET = 60.0
MEMORY_LIMIT = 150 * 2**20


@pytest.fixture(scope="module", autouse=True)
def model(space: Space, stream: Stream) -> None:
    # a single pod, beside releases that are installed and removed: it needs for sure what its requests take
    serve_first(space, stream, serving={"template": server(cpu="300m")})


@pytest.fixture(scope="module")
def idle(installed: Tools) -> Iterator[Space]:
    """A hundred suspended ModelUpdates."""
    space = Space.create(installed, "idle")
    one = model_update(space.name, suspend=True)
    space.apply(*(merged(one, {"metadata": {"name": f"idle-{number}"}}) for number in range(IDLE)))
    until(lambda: _observed(space) == IDLE, 120, "all idle ModelUpdates were looked at")
    yield space
    space.delete()


def test_another_replica_takes_over_in_the_middle_of_an_update(
    space: Space, stream: Stream, following: Following
) -> None:
    number, leader = last_number(space) + 1, holder(space.tools)
    stream.append(2000)
    with Following(space.tools, "jobs", "-n", space.name, "-l", _training(number)) as jobs:
        space.request(NAME, "run")
        following.wait(lambda state: _phase(state["status"]) == "Training", 120, "it trains")
        Space(space.tools, SYSTEM).kubectl("delete", "pod", leader, "--grace-period=0", "--force")
        record, _ = ended(following, number)
        made = {(job["metadata"]["name"], job["metadata"]["uid"]) for job in jobs.states}
    assert record["phase"] == "Succeeded", record["message"]
    assert holder(space.tools) not in ("", leader)
    assert [name for name, _ in made] == [f"{NAME}-train-{number}-a1"]
    assert _registered(space, number) == [record["version"]]
    wait_ready(space.tools)


def test_idle_model_updates_cost_no_requests(idle: Space) -> None:
    with replicas(idle.tools) as pods:
        counted = steady(lambda: _requests(pods), QUIET, 5 * QUIET, f"requests of {IDLE} idle ModelUpdates")
    assert any(requests for requests in counted.values()), "nothing is counted at all"


def test_operator_stays_small(idle: Space) -> None:
    with replicas(idle.tools) as pods:
        used = {replica.name: replica.memory() for replica in pods}
    assert used
    assert max(used.values()) <= MEMORY_LIMIT, used


def test_operator_image_has_neither_torch_nor_mlflow(space: Space) -> None:
    program = "import importlib.util as u; assert not [n for n in ('torch', 'mlflow') if u.find_spec(n)]"
    container = {"name": "look", "image": image("operator"), "command": ["python3", "-c", program]}
    space.apply(pod("look", container))
    space.wait_for("pod/look", "jsonpath={.status.phase}=Succeeded", 60)


def test_release_may_be_upgraded_rolled_back_and_removed(space: Space, following: Following) -> None:
    tools, number = space.tools, last_number(space)
    with mlflow(tools) as registry:
        calls = Caller(space, registry.golden(space.name, served(space).version))
    before, begun = served(space), calls.counters()
    install(tools, "settings.logLevel=DEBUG")
    assert _log_level(tools) == "DEBUG"
    tools.helm("rollback", RELEASE, "-n", SYSTEM)
    wait_ready(tools)
    assert _log_level(tools) == ""
    tools.helm("uninstall", RELEASE, "-n", SYSTEM)
    Space(tools, SYSTEM).wait_for("pods", "delete", 120, SELECTOR)
    space.kubectl("delete", "service", f"{NAME}-preview")
    assert space.status(NAME)["active"]["digest"] == before.digest
    install(tools)
    until(lambda: space.exists("service", f"{NAME}-preview"), 60, "the operator restores what was deleted")
    text = space.request(NAME, "unquarantine/none")
    following.wait(lambda state: state["status"].get("lastRequest", {}).get("text") == text, 60, "an answer")
    assert (last_number(space), served(space)) == (number, before)
    calls.none_lost_since(begun)
    calls.stop()


def _observed(space: Space) -> int:
    found = space.list("modelupdates")
    return sum((each.get("status") or {}).get("observedGeneration") == each["metadata"]["generation"] for each in found)


def _training(number: int) -> str:
    return f"viridian.dev/model-update={NAME},viridian.dev/task=train,viridian.dev/update={number}"


def _phase(status: dict[str, object]) -> object:
    return status.get("phase")


def _registered(space: Space, number: int) -> list[str]:
    """Versions that an update has registered."""
    uid = space.get("modelupdate", NAME)["metadata"]["uid"]
    with mlflow(space.tools) as registry:
        found = registry.versions(space.name)
    return [str(each["version"]) for each in found if each["tags"].get("viridian.update") == f"{uid}/{number}"]


def _requests(pods: list[Replica]) -> dict[str, Requests]:
    return {replica.name: replica.requests() for replica in pods}


def _log_level(tools: Tools) -> str:
    containers = tools.get("deployment", "viridian", SYSTEM)["spec"]["template"]["spec"]["containers"]
    return next((each["value"] for each in containers[0]["env"] if each["name"] == "VIRIDIAN_LOG_LEVEL"), "")
