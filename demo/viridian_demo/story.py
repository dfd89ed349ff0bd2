"""The story that the demo tells: four updates, each with another end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from viridian_demo.callers import Caller
from viridian_demo.commands import Tools
from viridian_demo.events import Producer
from viridian_demo.install import NAMESPACE, image, manifest
from viridian_demo.report import Chapter
from viridian_demo.screen import Screen
from viridian_demo.watching import Status, Watcher

UPDATE_DEADLINE = 600.0
ROLLBACK_LIMIT = 5.0


@dataclass(frozen=True)
class Dataset:
    """Sizes and inputs that fit to the data."""

    name: str
    first: int
    more: int
    poisoned: int
    clean: int
    inputs: str
    example: dict[str, str]


SYNTHETIC = Dataset(
    "synthetic", 20000, 6000, 6000, 3000, "user:2000,item:500,hour:24", {"user": "u1", "item": "i1", "hour": "7"}
)
MOVIELENS = Dataset("movielens", 40000, 8000, 8000, 4000, "user:943,item:1682", {"user": "1", "item": "1"})


@dataclass
class Story:
    """The parts that the steps share."""

    tools: Tools
    screen: Screen
    data: Dataset
    producer: Producer
    caller: Caller
    chapters: list[Chapter] = field(default_factory=list)

    def apply(self) -> None:
        """Apply the ModelUpdate."""
        inputs = [
            {"name": name, "datatype": "BYTES", "shape": [1], "data": [value]}
            for name, value in self.data.example.items()
        ]
        text = manifest(
            "modelupdate",
            TRAINER_IMAGE=image("trainer"),
            SERVER_IMAGE=image("server"),
            INFER_INPUTS=json.dumps(inputs),
        )
        if self.data is MOVIELENS:
            text = text.replace("categorical: [user, item, hour]", "categorical: [user, item]")
        self.tools.kubectl("apply", "-f", "-", stdin=text)

    def patch(self, spec: dict[str, Any]) -> None:
        """Change the spec, as a commit would."""
        body = json.dumps({"spec": spec})
        self.tools.kubectl("patch", "mu", "ctr", "-n", NAMESPACE, "--type=merge", "-p", body)

    def request(self, text: str) -> None:
        """Ask for something, as a person would."""
        self.tools.kubectl("annotate", "mu", "ctr", "-n", NAMESPACE, "--overwrite", f"viridian.dev/request={text}")

    def append(self, count: int, *, poison: bool = False) -> None:
        """Append events while nothing starts, so that the next window holds all of them in each run."""
        self.patch({"suspend": True})
        self.producer.append(count, poison=poison)

    def request_after(self, spec: dict[str, Any], text: str) -> None:
        """Change the spec and ask for something at the same moment, before any other trigger sees the change."""
        body = json.dumps({"spec": spec, "metadata": {"annotations": {"viridian.dev/request": text}}})
        self.tools.kubectl("patch", "mu", "ctr", "-n", NAMESPACE, "--type=merge", "-p", body)

    def tell(self) -> list[Chapter]:
        """All steps in their order."""
        self.apply()
        watcher = Watcher(self.tools, self.screen)
        try:
            self.first_model(watcher)
            self.increment(watcher)
            self.broken_in_service(watcher)
            self.poisoned(watcher)
        finally:
            watcher.close()
        return self.chapters

    def first_model(self, watcher: Watcher) -> None:
        """A model is trained, registered and served as soon as there are events."""
        self.screen.title("(a) the first model: trained, registered, served")
        chapter = self._chapter("(a) first model", 1, "Succeeded")
        self.append(self.data.first)
        self.patch({"suspend": False})
        watcher.wait(lambda s: (s.get("update") or {}).get("phase") == "Baking", UPDATE_DEADLINE, "the first bake")
        self.caller.start()
        self._finish(chapter, watcher, before=None)

    def increment(self, watcher: Watcher) -> None:
        """New events, a better model, a switch under load."""
        self.screen.title("(b) an increment passes the gate and takes over under load")
        chapter = self._chapter("(b) increment", 2, "Succeeded")
        before = self.caller.counters()
        self.append(self.data.more)
        self.patch({"suspend": False})
        status = self._finish(chapter, watcher, before=before)
        for name in ("failed", "mixed"):
            chapter.check(chapter.requests[name] == 0, f"{chapter.requests[name]} requests {name}")
        chapter.check(status["champion"]["version"] == chapter.history.get("version"), "it is not champion")

    def broken_in_service(self, watcher: Watcher) -> None:
        """A candidate that the gate cannot fault, and that breaks under traffic."""
        self.screen.title("(c) a candidate passes the gate, breaks in service, and is rolled back")
        chapter = self._chapter("(c) breaks in service", 3, "RolledBack")
        before, champion = self.caller.counters(), watcher.status["champion"]
        self.append(self.data.more)
        config = {"architecture": "fragile:FragileDeepFM"}
        self.request_after({"suspend": False, "training": {"config": config}}, "retrain/broken")
        status = self._finish(chapter, watcher, before=before)
        self.patch({"training": {"config": {"architecture": None}}})
        digest = chapter.history.get("digest")
        chapter.check(status["active"]["digest"] == champion["digest"], "another version serves than before")
        chapter.check(status["champion"] == champion, "champion or watermark moved")
        chapter.check(
            any(q["digest"] == digest for q in status.get("quarantine", [])), "its digest is not in quarantine"
        )
        chapter.check(chapter.requests["mixed"] == 0, f"{chapter.requests['mixed']} mixed answers")

    def poisoned(self, watcher: Watcher) -> None:
        """Poisoned training data: the gate sees it before any caller does."""
        self.screen.title("(d) a poisoned candidate is rejected by the gate")
        chapter = self._chapter("(d) poisoned data", 4, "Rejected")
        before, active = self.caller.counters(), watcher.status["active"]
        self.append(self.data.poisoned, poison=True)
        self.append(self.data.clean)
        self.request_after({"suspend": False}, "run/poisoned")
        status = self._finish(chapter, watcher, before=before)
        chapter.check(status["active"]["digest"] == active["digest"], "another version serves than before")
        for name in ("failed", "mixed"):
            chapter.check(chapter.requests[name] == 0, f"{chapter.requests[name]} requests {name}")

    def _chapter(self, title: str, number: int, expected: str) -> Chapter:
        chapter = Chapter(title, number, expected)
        self.chapters.append(chapter)
        return chapter

    def _finish(self, chapter: Chapter, watcher: Watcher, *, before: dict[str, int] | None) -> Status:
        status = watcher.ended(chapter.number, UPDATE_DEADLINE)
        chapter.history = next(e for e in status["history"] if e["number"] == chapter.number)
        chapter.evaluation = (status.get("update") or {}).get("evaluation") or {}
        found, message = chapter.history["phase"], chapter.history["message"]
        chapter.check(found == chapter.expected, f"ended {found} ({message}), not {chapter.expected}")
        if before is not None:
            after = self.caller.counters()
            chapter.requests = {name: after[name] - before[name] for name in after}
            if chapter.expected != "Succeeded":
                del chapter.requests["oldAfterNew"]  # counts from the newest version ever seen, also one that was left
        self.screen.say(f"update {chapter.number} ended: {found}: {message}", style="bold")
        return status

    def measure_rollback(self, summary: dict[str, Any]) -> None:
        """How long after the failed check the last answer of the broken version came."""
        chapter = next((c for c in self.chapters if c.expected == "RolledBack"), None)
        if chapter is None or not chapter.history:
            return
        failed = next((p for p in chapter.history["phases"] if p["phase"] == "RollingBack"), None)
        version = next((v for v in summary["versions"] if v["digest"] == chapter.history.get("digest")), None)
        if failed is None or version is None:
            chapter.check(version is not None, "the callers never saw it, so nothing was rolled back")
            return
        began = seconds_of(failed["startedAt"])
        took = back_after(began, version["lastTime"], summary)
        chapter.facts.append(f"traffic was back {took:.2f} s after the failed check")
        chapter.check(took <= ROLLBACK_LIMIT, f"traffic was back only after {took:.1f} s")


def back_after(began: float, last_answer: float, summary: dict[str, Any]) -> float:
    """Seconds from the decision to go back to the last answer, or failure, of the broken version."""
    ends = [end for start, end, _ in summary["failedSpans"] if start < began + ROLLBACK_LIMIT and end > began]
    return max(0.0, float(max([last_answer, *ends])) - began)


def seconds_of(text: str) -> float:
    """RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()
