"""Time from the failed health check to the last bad answer, under load, against ``kubectl rollout undo``.

The baseline is what a team without Viridian has: one Deployment with the same server, and a script that undoes its
rollout at the moment at which the same probe fails.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tests.benchmarks.result import Result

from viridian_demo.callers import Caller
from viridian_demo.commands import CommandFailed, Tools
from viridian_demo.events import Producer
from viridian_demo.install import NAMESPACE, clean, image, install, prepare_namespace
from viridian_demo.screen import Screen
from viridian_demo.story import SYNTHETIC, Story, back_after, seconds_of
from viridian_demo.watching import Watcher

CYCLES = int(os.environ.get("CYCLES", "10"))
UPDATE_DEADLINE = 300.0
PLAIN = "plain"


def run() -> Result:
    """One served model; candidates that break in service over and over, then the baseline."""
    screen = Screen()
    tools = Tools.find(os.environ["KUBECONFIG"], os.environ.get("VIRIDIAN_BIN_DIR"))
    install(tools, screen, own_images=True)
    clean(tools, screen)
    prepare_namespace(tools)
    caller = Caller(tools, rate=100, inputs=SYNTHETIC.inputs)
    story = Story(tools, screen, SYNTHETIC, Producer(tools, screen, SYNTHETIC.name), caller)
    story.apply()
    watcher = Watcher(tools, screen)
    try:
        story.first_model(watcher)
        story.patch({"training": {"config": {"architecture": "fragile:FragileDeepFM"}}})
        entries = [_cycle(story, watcher, number) for number in range(CYCLES)]
    finally:
        watcher.close()
    summary = caller.stop()
    ours = [_back(entry, summary) for entry in entries]
    baseline = [_undo(tools, number) for number in range(min(CYCLES, 3))]
    counts = {name: float(summary["total"][name]) for name in ("sent", "failed", "mixed")}
    what = "failed check to last bad answer"
    return Result(what, "s", ours, "kubectl rollout undo at the failed check", baseline, counts)


def _cycle(story: Story, watcher: Watcher, number: int) -> dict[str, Any]:
    """One candidate that breaks; returns its entry in the history."""
    before = watcher.status["history"][-1]["number"]
    story.patch({"training": {"seed": 100 + number}})
    story.request(f"retrain/{number}")
    status = watcher.ended(before + 1, UPDATE_DEADLINE)
    entry: dict[str, Any] = status["history"][-1]
    if entry["phase"] != "RolledBack":
        raise CommandFailed(f"update {entry['number']} ended {entry['phase']}: {entry['message']}")
    return entry


def _back(entry: dict[str, Any], summary: dict[str, Any]) -> float:
    began = seconds_of(next(p for p in entry["phases"] if p["phase"] == "RollingBack")["startedAt"])
    version = next(v for v in summary["versions"] if v["digest"] == entry["digest"])
    return back_after(began, version["lastTime"], summary)


def _undo(tools: Tools, number: int) -> float:
    """Break a plain Deployment of the same server, undo it at the failed check, wait for the last bad answer."""
    _plain(tools)
    _plain(tools, json.dumps({"fail_after": {"seconds_ready": 5, "status": 500}}))
    probe = _Probe(tools)
    probe.until(ok=False)
    began = time.time()
    tools.kubectl("rollout", "undo", f"deployment/{PLAIN}", "-n", NAMESPACE)
    return probe.until(ok=True) - began


def _plain(tools: Tools, fault: str = "") -> None:
    """The Deployment that serves now, under another name and without Viridian's labels."""
    active = tools.get("modelupdate", "ctr", NAMESPACE)["status"]["active"]["deployment"]
    spec = tools.get("deployment", active, NAMESPACE)["spec"]
    labels = {"app": PLAIN}
    spec["selector"] = {"matchLabels": labels}
    spec["template"]["metadata"] = {"labels": labels}
    spec["revisionHistoryLimit"] = 2
    container = spec["template"]["spec"]["containers"][0]
    env = [each for each in container.get("env", []) if each["name"] != "VIRIDIAN_FAULT"]
    container["env"] = [*env, {"name": "VIRIDIAN_FAULT", "value": fault}] if fault else env
    container["image"] = image("server")
    for constraint in spec["template"]["spec"].get("topologySpreadConstraints", []):
        constraint["labelSelector"] = {"matchLabels": labels}
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]}
    for kind, api, body in (("Deployment", "apps/v1", spec), ("Service", "v1", service)):
        obj = {"apiVersion": api, "kind": kind, "metadata": {"name": PLAIN, "namespace": NAMESPACE}, "spec": body}
        tools.kubectl("apply", "-f", "-", stdin=json.dumps(obj))
    tools.kubectl("rollout", "status", f"deployment/{PLAIN}", "-n", NAMESPACE, "--timeout=180s")


class _Probe:
    """The caller pod's view of the plain Service, by its own load client."""

    def __init__(self, tools: Tools) -> None:
        self._caller = Caller(tools, rate=20, inputs=SYNTHETIC.inputs, service=PLAIN)
        self._caller.start()

    def until(self, *, ok: bool) -> float:
        """Wall clock at which answers turn good for at least two seconds, or bad."""
        if not ok:
            self._caller.wait(lambda: self._caller.latest.get("failed", 0) > 0, 120, "it never failed")
            return time.time()
        seen = self._caller.latest["failed"]
        while True:
            before = self._caller.counters()["failed"]
            if before == seen:
                break
            seen = before
        summary = self._caller.stop()
        return float(summary["failedSpans"][-1][1])
