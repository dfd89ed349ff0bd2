"""The operator's process on a real API server: watches, silence, leadership, start and end."""

from __future__ import annotations

import signal
import time
import urllib.error
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from apiserver import ApiServer
from operators import Operator, until

from viridian_operator.api.crd import definition
from viridian_operator.kube.lease import LeaseTerms

pytestmark = pytest.mark.api

Start = Callable[..., Operator]
MANAGED = {"app.kubernetes.io/managed-by": "viridian"}


def make_model_update(apiserver: ApiServer, namespace: str, name: str = "ctr") -> str:
    manifest = {
        "apiVersion": "viridian.dev/v1alpha1",
        "kind": "ModelUpdate",
        "metadata": {"name": name},
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
    apiserver.request("POST", f"/apis/viridian.dev/v1alpha1/namespaces/{namespace}/modelupdates", manifest)
    return f"{namespace}/{name}"


POD_SPEC = {"containers": [{"name": "c", "image": "i:1"}], "restartPolicy": "Never"}
CHILDREN = {
    "job": ("/apis/batch/v1", "jobs", {"spec": {"template": {"spec": POD_SPEC}}}),
    "pod": ("/api/v1", "pods", {"spec": POD_SPEC}),
    "service": ("/api/v1", "services", {"spec": {"ports": [{"port": 80}]}}),
    "deployment": (
        "/apis/apps/v1",
        "deployments",
        {
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": POD_SPEC | {"restartPolicy": "Always"},
                },
            }
        },
    ),
    "endpoint-slice": ("/apis/discovery.k8s.io/v1", "endpointslices", {"addressType": "IPv4", "endpoints": []}),
}


def make_child(apiserver: ApiServer, namespace: str, kind: str, name: str, **metadata: object) -> None:
    api, plural, rest = CHILDREN[kind]
    body = {"metadata": {"name": name, **metadata}, **rest}
    apiserver.request("POST", f"{api}/namespaces/{namespace}/{plural}", body)


def test_what_happens_to_a_child_wakes_its_parent(start: Start, apiserver: ApiServer, namespace: str) -> None:
    operator = start()
    owner = {"apiVersion": "viridian.dev/v1alpha1", "kind": "ModelUpdate", "uid": "u", "controller": True}
    for kind in CHILDREN:
        foreign, labelled = ({"viridian.dev/model-update": f"{state}-{kind}"} for state in ("foreign", "labelled"))
        owners = [owner | {"name": f"owner-{kind}"}]
        make_child(apiserver, namespace, kind, "foreign", labels=foreign)
        make_child(apiserver, namespace, kind, "nobody", labels=MANAGED)
        make_child(apiserver, namespace, kind, "labelled", labels=MANAGED | labelled)
        make_child(apiserver, namespace, kind, "owned", labels=MANAGED, ownerReferences=owners)
    wanted = {f"{namespace}/{state}-{kind}" for kind in CHILDREN for state in ("labelled", "owner")}
    until(lambda: wanted <= set(operator.passes()), "a pass for each parent", 10)
    assert {key for key in operator.passes() if key.startswith(f"{namespace}/")} == wanted


def test_changes_and_deletion_of_a_model_update_wake_it_and_nothing_is_written_on_it(
    start: Start, apiserver: ApiServer, namespace: str
) -> None:
    operator = start()
    key = make_model_update(apiserver, namespace)
    path = f"/apis/viridian.dev/v1alpha1/namespaces/{namespace}/modelupdates/ctr"
    until(lambda: operator.passes().count(key) == 1, "a pass after the creation")
    change = {"metadata": {"annotations": {"viridian.dev/request": "run/1"}}}
    apiserver.request("PATCH", path, change, content_type="application/merge-patch+json")
    until(lambda: operator.passes().count(key) == 2, "a pass after the request")
    metadata = apiserver.request("GET", path)["metadata"]
    assert metadata["annotations"] == change["metadata"]["annotations"]
    assert "finalizers" not in metadata
    apiserver.request("DELETE", path)
    until(lambda: operator.passes().count(key) == 3, "a pass after the deletion")


def test_what_existed_before_the_start_is_looked_at(start: Start, apiserver, namespace) -> None:
    keys = {make_model_update(apiserver, namespace, f"m{number}") for number in range(20)}
    operator = start()
    until(lambda: keys <= set(operator.passes()), "a pass for each")


def test_an_idle_resource_costs_no_request(start: Start, apiserver, namespace) -> None:
    keys = {make_model_update(apiserver, namespace, f"m{number}") for number in range(20)}
    leader, standby = start(), start()
    until(lambda: keys <= {*leader.passes(), *standby.passes()}, "a pass for each")
    until(lambda: "watch endpointslices" in apiserver.requests("viridian-operator/"), "the watches")
    _watch_lease(apiserver, 2)  # whatever the start still had to ask
    before, passes = len(apiserver.requests("viridian-operator/")), len(leader.notes()) + len(standby.notes())
    _watch_lease(apiserver, 12)  # long enough to see anything that is done every few seconds
    later = apiserver.requests("viridian-operator/")[before:]
    assert {each for each in later if not each.endswith(" leases")} == set()
    assert len(leader.notes()) + len(standby.notes()) == passes


def _watch_lease(apiserver: ApiServer, count: int) -> None:
    """Until leader and standby have asked for the Lease ``count`` times more: time as the operators know it."""

    def asked() -> int:
        return sum(each.endswith(" leases") for each in apiserver.requests("viridian-operator/"))

    begun = asked()
    until(lambda: asked() >= begun + count, f"{count} more requests for the Lease", 60)


def test_watches_select_on_the_server(start: Start, apiserver: ApiServer) -> None:
    start()
    until(lambda: "watch pods" in apiserver.requests("viridian-operator/"), "the watch of pods")
    audit = (apiserver.directory / "audit.log").read_text()
    watches = [line for line in audit.splitlines() if '"verb":"watch"' in line and "viridian-operator/" in line]
    assert watches
    assert all("managed-by%3Dviridian" in line or "modelupdates" in line for line in watches)


def test_one_of_several_works_and_hands_over_when_it_is_asked_to_stop(start: Start, apiserver, namespace) -> None:
    operators = [start() for _ in range(3)]
    key = make_model_update(apiserver, namespace)
    until(lambda: any(key in each.passes() for each in operators), "a pass")
    took = []
    while len(operators) > 1:
        leader = until(partial(_leader, operators), "one of them leads")
        others = [each for each in operators if each is not leader]
        assert not any(each.notes() for each in others)
        asked = leader.signal(signal.SIGTERM)
        took.append(until(partial(first_note, others), "a pass of another", 10)["time"] - asked)
        assert leader.wait() == 0, leader.log()
        operators = others
    print(f"hand-over after SIGTERM: {', '.join(f'{each:.2f} s' for each in took)}")
    assert max(took) < LeaseTerms.duration, "the Lease was waited for, not handed over"


def _leader(operators: Sequence[Operator]) -> Operator | None:
    """None while nobody says that it leads: a process that waits for the processor does not answer at once."""
    return next((each for each in operators if each.leads()), None)


def test_another_takes_over_when_the_leader_is_killed(start: Start, apiserver, namespace) -> None:
    first, second = start(), start()
    key = make_model_update(apiserver, namespace)
    until(lambda: key in [*first.passes(), *second.passes()], "a pass")
    leader = until(partial(_leader, [first, second]), "one of them leads")
    other = second if leader is first else first
    killed = leader.signal(signal.SIGKILL)
    taken = until(other.notes, "a pass of the other", 30)[0]
    print(f"hand-over after SIGKILL: {taken['time'] - killed:.2f} s")


def test_a_leader_that_was_frozen_writes_nothing_when_it_wakes_up(start: Start, apiserver, namespace) -> None:
    options = {"FAKE_WRITES": "1", "FAKE_AFTER": "0.05"}
    first, second = start(**options), start(**options)
    make_model_update(apiserver, namespace)
    until(lambda: first.notes("end") or second.notes("end"), "one of them works")
    leader = until(partial(_leader, [first, second]), "one of them leads")
    other = second if leader is first else first
    assert not other.notes(), "one of them has lost the Lease before it was frozen"
    leader.signal(signal.SIGSTOP)
    taken = until(other.notes, "the other works", 30)[0]["time"]
    leader.signal(signal.SIGCONT)
    assert leader.wait() == 1
    # what the API server received: an answer that came while the leader was frozen still ends a pass when it wakes up
    written = apiserver.applied(f"written-by-{leader.pid}")
    assert written
    assert [each for each in written if each > taken] == []
    assert "not leading any more" in leader.log()


def test_an_outage_of_the_api_server_ends_the_leader_and_is_survived_by_the_standby(
    start: Start, own_apiserver: ApiServer
) -> None:
    own_apiserver.install(definition())
    options = {"kubeconfig": own_apiserver.kubeconfig, "VIRIDIAN_LEASE_NAMESPACE": "default"}
    leader, other = start(**options), start(**options)
    key = make_model_update(own_apiserver, "default")
    until(lambda: leader.notes(), "a pass")
    own_apiserver.stop_server()
    assert leader.wait(10) == 1, leader.log()
    own_apiserver.start()
    until(lambda: key in other.passes(), "a pass of the other", 30)
    make_model_update(own_apiserver, "default", "later")
    until(lambda: "default/later" in other.passes(), "watches go on", 60)


def test_passes_under_way_finish_before_the_exit(start: Start, apiserver, namespace) -> None:
    operator = start(FAKE_PASS_SECONDS="2")
    make_model_update(apiserver, namespace)
    until(operator.notes, "a pass")
    make_model_update(apiserver, namespace, "late")
    operator.signal(signal.SIGTERM)
    assert operator.wait() == 0
    assert len(operator.notes("end")) == len(operator.notes("begin"))


def test_passes_that_take_too_long_are_cut_off(start: Start, apiserver, namespace) -> None:
    operator = start(FAKE_PASS_SECONDS="30", VIRIDIAN_DRAIN="1")
    make_model_update(apiserver, namespace)
    until(operator.notes, "a pass")
    asked = operator.signal(signal.SIGTERM)
    assert operator.wait() == 0
    print(f"exit with a pass cut off: {time.time() - asked:.2f} s")
    assert time.time() - asked < 5
    assert operator.notes("end") == []


def test_an_idle_operator_ends_at_once_also_while_it_is_probed(start: Start) -> None:
    import http.client

    operator = start()
    port = int(operator.log().split("metrics on port ")[1].split('"')[0])
    kept = http.client.HTTPConnection("127.0.0.1", port)
    kept.request("GET", "/livez")
    assert kept.getresponse().read()
    asked = operator.signal(signal.SIGTERM)
    assert operator.wait() == 0, operator.log()
    print(f"idle exit: {time.time() - asked:.2f} s")
    assert time.time() - asked < 4.5  # kopf alone would wait 5 s for the kept connection


def test_without_the_crd_it_says_what_to_do(start: Start, own_apiserver: ApiServer) -> None:
    operator = start(kubeconfig=own_apiserver.kubeconfig, wait=False, VIRIDIAN_LEASE_NAMESPACE="default")
    assert operator.wait(60) == 2
    assert "install the CRD first" in operator.log()
    assert "Traceback" not in operator.log()


def test_a_crd_of_an_older_release_is_waited_for_and_said(start: Start, own_apiserver: ApiServer) -> None:
    old = definition()
    del old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["owedTags"]
    own_apiserver.install(old)
    operator = start(kubeconfig=own_apiserver.kubeconfig, wait=False, VIRIDIAN_LEASE_NAMESPACE="default")
    until(lambda: "older than this operator and has no status.owedTags" in operator.log(), "it says so", 30)
    assert operator.probe("/readyz")[0] == 503
    own_apiserver.install(definition())
    until(operator.ready, "it is ready", 60)


def test_a_port_that_is_taken_is_said(start: Start) -> None:
    first = start()
    port = first.log().split("metrics on port ")[1].split('"')[0]
    second = start(wait=False, VIRIDIAN_PROBE_PORT=port)
    assert second.wait(60) == 2
    assert "cannot start" in second.log()


def test_two_namespaces_of_three_with_permissions_in_those_alone(start: Start, apiserver, namespace) -> None:
    ours, theirs = apiserver.namespace(f"{namespace}-ours"), apiserver.namespace(f"{namespace}-theirs")
    for each in (namespace, ours):
        grant(apiserver, each)
    operator = start(kubeconfig=apiserver.kubeconfig_of("operator-token"), VIRIDIAN_NAMESPACES=f"{namespace}, {ours}")
    seen = {make_model_update(apiserver, namespace), make_model_update(apiserver, ours)}
    unseen = make_model_update(apiserver, theirs)
    make_child(apiserver, theirs, "pod", "p", labels=MANAGED | {"viridian.dev/model-update": "ctr"})
    make_child(apiserver, ours, "pod", "p", labels=MANAGED | {"viridian.dev/model-update": "child"})
    until(lambda: seen | {f"{ours}/child"} <= set(operator.passes()), "a pass for each of ours", 15)
    assert unseen not in operator.passes()


def test_without_permissions_it_says_which(start: Start, apiserver: ApiServer) -> None:
    operator = start(kubeconfig=apiserver.kubeconfig_of("operator-token"), wait=False)
    assert operator.wait(60) == 2
    assert 'cannot get resource \\"modelupdates\\"' in operator.log()


def test_probes_and_metrics(start: Start, apiserver, namespace) -> None:
    operator = start()
    make_model_update(apiserver, namespace)
    done = 'viridian_reconcile_total{result="success"}'
    until(lambda: done in operator.probe("/metrics")[1], "a pass that is counted")
    renewed = 'viridian_api_requests_total{code="200",resource="leases",verb="update"}'
    until(lambda: renewed in operator.probe("/metrics")[1], "a renewal that is counted")
    assert operator.probe("/livez")[0] == 200
    metrics = operator.probe("/metrics")[1]
    assert "viridian_build_info{" in metrics
    print(f"resident: {operator.resident():.0f} MiB")
    assert operator.resident() < 300


def first_note(operators: list[Operator]) -> dict | None:
    """The first pass that any of them began."""
    return next((note for each in operators for note in each.notes()), None)


def grant(apiserver: ApiServer, namespace: str) -> None:
    """The operator's Role as far as this shell needs it, in one namespace."""
    api = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    watch = ["get", "list", "watch"]
    rules = [
        {"apiGroups": ["viridian.dev"], "resources": ["modelupdates"], "verbs": watch},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": watch},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": watch},
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": watch},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
    ]
    subject = {"kind": "User", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"}
    ref = {"kind": "Role", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"}
    for plural, body in (("roles", {"rules": rules}), ("rolebindings", {"subjects": [subject], "roleRef": ref})):
        try:
            apiserver.request("POST", f"{api}/{plural}", {"metadata": {"name": "operator"}, **body})
        except urllib.error.HTTPError as error:
            raise AssertionError(error.msg) from error
