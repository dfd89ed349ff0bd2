"""Who says whether an anchor is good enough: the operator, in a tag of its version, or the gate on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

import torch

from viridian_trainer import registry as tags
from viridian_trainer.environment import EvaluateInput, OnlineInput, VersionRef
from viridian_trainer.evaluation_task import evaluate_task
from viridian_trainer.eventlog import EventLog, Window
from viridian_trainer.online.anchors import Anchors, Written
from viridian_trainer.registry import Registry

Outcome = Literal["Pass", "Reject", "Inconclusive"]


@dataclass(frozen=True)
class Judgement:
    """An outcome, and one sentence about it."""

    outcome: Outcome
    message: str


class Judge(Protocol):
    """Gives the verdict on an anchor, once there is one; asked every second or so.

    ``waits`` says that it only waits for others, and may be asked in another thread.
    """

    waits: bool

    def verdict(self, anchor: Written, champion: VersionRef) -> Judgement | None:
        """The verdict, or nothing yet.

        Raises
        ------
        Unreachable
            If the registry or the log does not answer; ask again.
        """
        ...


class OperatorJudge:
    """The operator writes what its evaluation Job found into the tag ``viridian.verdict`` of the version."""

    waits = True

    def __init__(self, versions: Registry, model: str) -> None:
        self._versions, self._model = versions, model

    def verdict(self, anchor: Written, champion: VersionRef) -> Judgement | None:  # noqa: ARG002
        """See ``Judge``."""
        found = self._versions.version(self._model, anchor.version).tags.get(tags.VERDICT)
        if found not in get_args(Outcome):
            return None
        return Judgement(cast("Outcome", found), f"the operator judged version {anchor.version}: {found}")


class LocalJudge:
    """The gate of the project, in this process, on the events that came after the anchor was made."""

    waits = False

    def __init__(self, task: OnlineInput, log: EventLog, versions: Registry, anchors: Anchors) -> None:
        self._task, self._log, self._versions, self._anchors = task, log, versions, anchors
        self._enough = task.gate.min_events

    def verdict(self, anchor: Written, champion: VersionRef) -> Judgement | None:
        """See ``Judge``; waits for so many entries as the gate needs events."""
        heads = self._log.heads()
        unseen = Window({name: anchor.trained_to.get(name, "0") for name in heads}, heads)
        if unseen.total < self._enough:
            return None
        given = EvaluateInput(
            update=self._anchors.update(anchor.sequence),
            model_name=self._task.model_name,
            data=self._task.data,
            parent=champion,
            candidate=VersionRef(anchor.version, anchor.digest),
            reference=None,
            holdout=unseen,
            gate=self._task.gate.model_copy(update={"split": "Holdout"}),
        )
        with torch.random.fork_rng(devices=[]):  # models are built to be judged, which must not change the training
            outcome = evaluate_task(given, self._log, self._versions, evidence=False)
        if outcome["reason"] == "TooFewEvents":  # unreadable entries and duplicates do not count
            self._enough = unseen.total + self._task.gate.min_events
            return None
        return Judgement(outcome["verdict"], outcome["message"])
