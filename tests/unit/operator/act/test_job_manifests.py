"""Jobs keep the contract of docs/reference/contracts.md and leave the user's template alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from applying_cluster import OWNER, WINDOW, revision, spec, update

from viridian_operator.act.manifests.check_job import check_job
from viridian_operator.act.manifests.job import headless_service, job
from viridian_operator.act.manifests.pod import InvalidTemplate
from viridian_operator.api import names
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import Attempts, Kind
from viridian_operator.api.version import ModelRef
from viridian_operator.decide.decision import CreateCheckJob, CreateJob

PARENT = ModelRef(version="1", digest="sha256:p")
CANDIDATE = ModelRef(version="2", digest="sha256:c")


def train(attempt: int = 1, number: int = 7) -> CreateJob:
    return CreateJob("train", update(number=number, attempts=Attempts(number=attempt)), WINDOW, PARENT)


def evaluate() -> CreateJob:
    return CreateJob("eval", update(), WINDOW, PARENT, candidate=CANDIDATE, reference=None, holdout=WINDOW)


def environment(manifest: dict[str, Any]) -> dict[str, Any]:
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def training(**changes: Any) -> ModelUpdateSpec:
    template = {"spec": {"containers": [{"name": "trainer", "image": "trainer:1"}]}}
    return spec(training={"template": template, **changes})


def test_one_attempt_is_one_job_that_never_retries_by_itself() -> None:
    manifest = job(spec(), OWNER, train(attempt=3))
    assert manifest["metadata"]["name"] == "ctr-train-7-a3"
    assert (
        manifest["metadata"]["labels"] | {names.TASK: "train", names.UPDATE: "7", names.ATTEMPT: "3"}
        == (manifest["metadata"]["labels"])
    )
    assert json.loads(manifest["metadata"]["annotations"][names.ANNOTATION_WINDOW]) == WINDOW.wire()
    assert manifest["metadata"]["annotations"][names.ANNOTATION_PARENT] == "sha256:p"
    body = manifest["spec"]
    assert (body["completions"], body["parallelism"], body["backoffLimit"]) == (1, 1, 0)
    assert body["template"]["spec"]["restartPolicy"] == "Never"
    assert body["podReplacementPolicy"] == "Failed"
    assert {rule["action"] for rule in body["podFailurePolicy"]["rules"]} == {"FailJob"}
    assert "ttlSecondsAfterFinished" not in body
    assert "suspend" not in body


def test_waiting_for_capacity_does_not_use_up_the_running_time() -> None:
    limits = {"deadlines": {"queued": "1h", "running": "30m"}}
    assert job(training(**limits), OWNER, train())["spec"]["activeDeadlineSeconds"] == 5400


def test_the_environment_contract() -> None:
    found = environment(job(training(config={"lr": 0.1}, seed=3), OWNER, train()))
    assert found["VIRIDIAN_TASK"] == "Train"
    assert json.loads(found["VIRIDIAN_UPDATE"]) == {
        "uid": "uid-1",
        "namespace": "recsys",
        "name": "ctr",
        "number": 7,
        "attempt": 1,
        "kind": "Incremental",
    }
    assert json.loads(found["VIRIDIAN_WINDOW"]) == {"from": {"0": "0@0-0"}, "to": {"0": "100@5-0"}}
    assert json.loads(found["VIRIDIAN_FRESH"]) is None
    assert json.loads(found["VIRIDIAN_PARENT"]) == {"version": "1", "digest": "sha256:p"}
    assert json.loads(found["VIRIDIAN_TRAINING"]) == {"config": {"lr": 0.1}, "seed": 3}
    assert json.loads(found["VIRIDIAN_DATA"])["source"]["redisStream"]["stream"] == "clicks"
    assert found["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert found["VIRIDIAN_REDIS_PASSWORD"] == {"secretKeyRef": {"name": "redis", "key": "password"}}
    assert found["VIRIDIAN_REDIS_USERNAME"]["secretKeyRef"]["optional"] is True
    assert "VIRIDIAN_CANDIDATE" not in found


def test_an_evaluation_runs_the_training_template_unless_it_has_its_own() -> None:
    manifest = job(spec(), OWNER, evaluate())
    found = environment(manifest)
    assert manifest["metadata"]["name"] == "ctr-eval-7-a1"
    assert found["VIRIDIAN_TASK"] == "Evaluate"
    assert json.loads(found["VIRIDIAN_CANDIDATE"]) == {"version": "2", "digest": "sha256:c"}
    assert found["VIRIDIAN_REFERENCE"] == "null"
    assert json.loads(found["VIRIDIAN_HOLDOUT"]) == WINDOW.wire()
    own = {"template": {"spec": {"containers": [{"name": "judge", "image": "judge:1"}]}}}
    containers = job(spec(evaluation=own), OWNER, evaluate())["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "judge:1"


@pytest.mark.parametrize("action", [train, evaluate])
@pytest.mark.parametrize(
    ("begun_with", "told"), [("Prequential", "Prequential"), ("Holdout", "Holdout"), ("", "Holdout")]
)
def test_an_update_keeps_the_split_that_it_began_with(
    action: Callable[[], CreateJob], begun_with: str, told: str
) -> None:
    made = action()
    made = replace(made, update=made.update.but(split=begun_with))
    gate = {"split": "Prequential" if begun_with == "Holdout" else "Holdout", "margin": 0.01}
    found = environment(job(spec(gate=gate), OWNER, made))
    assert json.loads(found["VIRIDIAN_GATE"])["split"] == told
    assert json.loads(found["VIRIDIAN_GATE"])["margin"] == 0.01


def test_an_evaluation_is_told_what_was_predicted_before_training() -> None:
    assert environment(job(spec(), OWNER, evaluate()))["VIRIDIAN_PREDICTED"] == "null"
    found = environment(job(spec(), OWNER, replace(evaluate(), predicted=WINDOW)))
    assert json.loads(found["VIRIDIAN_PREDICTED"]) == WINDOW.wire()


def test_a_followed_version_is_judged_without_any_training() -> None:
    own = {"template": {"spec": {"containers": [{"name": "judge", "image": "judge:1"}]}}}
    followed = spec(strategy="Registry", follow={"alias": "challenger"}, training=None, evaluation=own)
    action = CreateJob("eval", update(kind=Kind.FOLLOW), WINDOW, None, candidate=CANDIDATE, holdout=WINDOW)
    env = environment(job(followed, OWNER, action))
    assert json.loads(env["VIRIDIAN_UPDATE"])["kind"] == "Full"
    assert json.loads(env["VIRIDIAN_TRAINING"]) == {"config": {}, "seed": 0}
    assert (env["VIRIDIAN_PARENT"], env["VIRIDIAN_HOLDOUT"]) == ("null", env["VIRIDIAN_WINDOW"])


def test_attempts_of_an_update_share_a_trace_and_updates_do_not() -> None:
    traces = [
        environment(job(spec(), OWNER, train(attempt, number)))["TRACEPARENT"]
        for attempt, number in ((1, 7), (2, 7), (1, 8))
    ]
    assert traces[0] == traces[1] != traces[2]
    assert [len(part) for part in traces[0].split("-")] == [2, 32, 16, 2]


def test_a_gang_finds_itself_by_names_of_its_own_attempt() -> None:
    gang = training(nodes=4, processesPerNode=8)
    manifest, names_of_gang = job(gang, OWNER, train(2)), headless_service(gang, OWNER, train(2))
    found = environment(manifest)
    assert names_of_gang is not None
    assert names_of_gang["metadata"]["name"] == manifest["spec"]["template"]["spec"]["subdomain"] == "ctr-train-7-a2"
    assert names_of_gang["spec"]["publishNotReadyAddresses"] is True
    assert found["PET_MASTER_ADDR"] == "ctr-train-7-a2-0.ctr-train-7-a2"
    assert (found["PET_NNODES"], found["PET_NPROC_PER_NODE"]) == ("4", "8")
    assert "job-completion-index" in found["PET_NODE_RANK"]["fieldRef"]["fieldPath"]
    assert (manifest["spec"]["completions"], manifest["spec"]["parallelism"]) == (4, 4)
    assert headless_service(spec(), OWNER, train()) is None


def test_processes_of_one_pod_need_no_rendezvous_between_pods() -> None:
    one = training(processesPerNode=2)
    found = environment(job(one, OWNER, train()))
    assert (found["PET_NNODES"], found["PET_NPROC_PER_NODE"]) == ("1", "2")
    assert "PET_MASTER_ADDR" not in found
    assert headless_service(one, OWNER, train()) is None
    for manifest in (job(one, OWNER, evaluate()), job(spec(), OWNER, train())):
        assert not [name for name in environment(manifest) if name.startswith("PET_")]


def test_safe_defaults_stand_back_for_what_the_template_says() -> None:
    template = {
        "metadata": {"labels": {"kueue.x-k8s.io/queue-name": "team-a", "team": "ads"}},
        "spec": {
            "terminationGracePeriodSeconds": 900,
            "securityContext": {"runAsUser": 1000},
            "nodeSelector": {"gpu": "h100"},
            "containers": [
                {
                    "name": "trainer",
                    "image": "trainer:1",
                    "command": ["torchrun", "train.py"],
                    "env": [{"name": "MLFLOW_TRACKING_URI", "value": "http://proxy"}, {"name": "MINE", "value": "1"}],
                    "securityContext": {"readOnlyRootFilesystem": False, "capabilities": {"drop": ["NET_RAW"]}},
                    "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }
    before = copy.deepcopy(template)
    manifest = job(training(template=template), OWNER, train())
    pod = manifest["spec"]["template"]
    container = pod["spec"]["containers"][0]
    assert template == before
    assert container["command"] == ["torchrun", "train.py"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is False
    assert container["securityContext"]["capabilities"]["drop"] == ["NET_RAW"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["terminationGracePeriodSeconds"] == 900
    assert [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp"] == ["scratch"]
    assert environment(manifest)["MLFLOW_TRACKING_URI"] == "http://proxy"
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert "kueue.x-k8s.io/queue-name" not in pod["metadata"]["labels"]
    assert pod["metadata"]["labels"]["team"] == "ads"
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_checkpoints_outlive_the_pod_only_with_a_claim() -> None:
    claim = training(checkpoint={"persistentVolumeClaim": {"claimName": "ckpt"}})
    pod = job(claim, OWNER, train())["spec"]["template"]["spec"]
    assert {"name": "viridian-checkpoint", "persistentVolumeClaim": {"claimName": "ckpt"}} in pod["volumes"]
    assert pod["securityContext"]["fsGroup"] == 65532
    for manifest in (job(claim, OWNER, evaluate()), job(spec(), OWNER, train())):
        pod = manifest["spec"]["template"]["spec"]
        assert {"name": "viridian-checkpoint", "emptyDir": {}} in pod["volumes"]


def test_names_fit_a_host_name_with_its_index() -> None:
    longest = OWNER.__class__(name="n" * names.NAME_LIMIT, namespace="recsys", uid="u")
    name = job(spec(), longest, train(attempt=120, number=99999))["metadata"]["name"]
    assert len(f"{name}-255") <= 63


def test_a_template_without_containers_is_refused_with_what_to_write() -> None:
    with pytest.raises(InvalidTemplate, match=r"spec\.training\.template\.spec\.containers"):
        job(training(template={"spec": {}}), OWNER, train())


def checked(**pod: Any) -> ModelUpdateSpec:
    template = {"spec": {"containers": [{"name": "smoke", "image": "smoke:1"}]}} | pod
    return spec(rollout={"healthChecks": [{"name": "smoke", "job": {"deadline": "2m", "template": template}}]})


def smoke(previous: bool = True) -> CreateCheckJob:
    return CreateCheckJob("smoke", update(), revision(2), revision(1) if previous else None)


def test_a_check_job_runs_once_and_can_reach_nothing_of_the_cluster() -> None:
    template = {"spec": {"automountServiceAccountToken": True, "containers": [{"name": "smoke", "image": "smoke:1"}]}}
    manifest = check_job(checked(metadata={"labels": {names.REVISION: "hash2"}}, **template), OWNER, smoke())
    assert manifest["metadata"]["name"] == names.check_job("ctr", "smoke", 7)
    assert manifest["metadata"]["ownerReferences"][0]["uid"] == "uid-1"
    body = manifest["spec"]
    assert (body["completions"], body["backoffLimit"], body["activeDeadlineSeconds"]) == (1, 0, 120)
    pod = body["template"]
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert names.REVISION not in pod["metadata"]["labels"]  # no Service takes it for an endpoint
    assert pod["metadata"]["labels"][names.TASK] == "check"


def test_a_check_job_is_told_what_to_look_at() -> None:
    found = environment(check_job(checked(), OWNER, smoke()))
    assert found["VIRIDIAN_CHECK"] == "smoke"
    assert (found["VIRIDIAN_VERSION"], found["VIRIDIAN_DIGEST"]) == ("2", revision(2).digest)
    assert found["VIRIDIAN_ACTIVE_URL"] == "http://ctr.recsys:80"
    assert found["VIRIDIAN_PREVIEW_URL"] == "http://ctr-preview.recsys:80"
    assert json.loads(found["VIRIDIAN_PREVIOUS"])["version"] == "1"
    assert json.loads(found["VIRIDIAN_UPDATE"])["number"] == 7
    first = environment(check_job(checked(), OWNER, smoke(previous=False)))
    assert json.loads(first["VIRIDIAN_PREVIOUS"]) is None


def test_names_of_check_jobs_are_short_and_differ() -> None:
    long = names.check_job("m" * names.NAME_LIMIT, "c" * 63, 123_456_789)
    assert len(long) <= 63
    assert long != names.check_job("m" * names.NAME_LIMIT, "c" * 62, 123_456_789)


def test_a_check_that_left_the_spec_has_no_job() -> None:
    with pytest.raises(InvalidTemplate):
        check_job(spec(), OWNER, smoke())
