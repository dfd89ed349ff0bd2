"""The contract of Jobs: environment variables, read strictly and once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from viridian_model.manifest import DIGEST
from viridian_model.store.keys import checked_part
from viridian_trainer.errors import BadConfig, BadUsage
from viridian_trainer.eventlog import Window
from viridian_trainer.gang.layout import layout
from viridian_trainer.spec import Data, Gate, Online, SplitKind, parse_part

Kind = Literal["Full", "Incremental"]


@dataclass(frozen=True)
class Update:
    """Which update of which ModelUpdate this attempt belongs to."""

    uid: str
    namespace: str
    name: str
    number: int
    attempt: int
    kind: Kind

    @property
    def tag(self) -> str:
        """Value of the version tag ``viridian.update``, by which a retried Job finds its own version."""
        return f"{self.uid}/{self.number}"


@dataclass(frozen=True)
class VersionRef:
    """A registered version, pinned with its digest."""

    version: str
    digest: str


@dataclass(frozen=True)
class Common:
    """What both tasks are told."""

    update: Update
    model_name: str
    data: Data
    parent: VersionRef | None


@dataclass(frozen=True)
class TrainInput(Common):
    """All inputs of a training; ``fresh`` is where the events begin that the champion has not trained on,
    ``ranks`` how many processes train.
    """

    window: Window
    fresh: dict[str, str]
    config: dict[str, Any]
    seed: int
    checkpoint_dir: Path
    split: SplitKind = "Holdout"
    ranks: int = 1


@dataclass(frozen=True)
class EvaluateInput(Common):
    """All inputs of an evaluation; ``parent`` is the champion, ``predicted`` what the candidate predicted before
    it trained on it, if that judges.
    """

    candidate: VersionRef
    reference: VersionRef | None
    holdout: Window
    gate: Gate
    predicted: Window | None = None


@dataclass(frozen=True)
class OnlineInput(Common):
    """All inputs of an online training; ``parent`` is the champion, ``store`` the address of the store, ``chain``
    the name under which everything stands in it, and ``port`` that of the status, if it is wanted.
    """

    store: str
    chain: str
    online: Online
    gate: Gate
    config: dict[str, Any]
    seed: int
    checkpoint_dir: Path
    port: int | None = None


def read_task(env: Mapping[str, str]) -> Literal["Train", "Evaluate", "Online"]:
    """The task that ``VIRIDIAN_TASK`` names.

    Raises
    ------
    BadUsage
        If it names none.
    """
    task = _text(env, "VIRIDIAN_TASK")
    if task == "Train":
        return "Train"
    if task == "Evaluate":
        return "Evaluate"
    if task == "Online":
        return "Online"
    raise BadUsage(f"VIRIDIAN_TASK is {task!r}; set it to Train, Evaluate or Online")


def read_train(env: Mapping[str, str]) -> TrainInput:
    """Inputs of a training.

    Raises
    ------
    BadUsage
        If a variable is missing, malformed or contradicts another.
    BadConfig
        If ``spec.data`` does not fit.
    """
    config, seed = _training(env)
    ranks = layout(env).ranks
    if ranks > 1 and "RANK" not in env:
        raise BadUsage(
            "PET_NNODES or PET_NPROC_PER_NODE ask for several processes; start them with viridian-trainer run"
        )
    common = _common(env)
    if common.update.kind == "Incremental" and common.parent is None:
        raise BadUsage("VIRIDIAN_PARENT is null, but an Incremental update starts from a parent")
    window = _window(env, "VIRIDIAN_WINDOW")
    return TrainInput(
        **vars(common),
        window=window,
        fresh=_fresh(env, window),
        config=config,
        seed=seed,
        checkpoint_dir=Path(_text(env, "VIRIDIAN_CHECKPOINT_DIR")),
        split=_gate(env).split if env.get("VIRIDIAN_GATE") else "Holdout",
        ranks=ranks,
    )


def read_evaluate(env: Mapping[str, str]) -> EvaluateInput:
    """Inputs of an evaluation; raises like `read_train`."""
    candidate = _version(env, "VIRIDIAN_CANDIDATE")
    if candidate is None:
        raise BadUsage("VIRIDIAN_CANDIDATE is null; an evaluation needs a candidate")
    gate, holdout = _gate(env), _window(env, "VIRIDIAN_HOLDOUT")
    return EvaluateInput(
        **vars(_common(env)),
        candidate=candidate,
        reference=_version(env, "VIRIDIAN_REFERENCE"),
        holdout=holdout,
        gate=gate,
        predicted=_predicted(env, holdout) if gate.split == "Prequential" else None,
    )


def read_online(env: Mapping[str, str]) -> OnlineInput:
    """Inputs of an online training.

    Raises
    ------
    BadUsage
        If a variable is missing or malformed.
    BadConfig
        If a part of the spec does not fit, or needs a window.
    """
    config, seed = _training(env)
    common = _common(env)
    return checked(
        OnlineInput(
            **vars(common),
            store=_text(env, "VIRIDIAN_STORE"),
            chain=chain_of(env.get("VIRIDIAN_CHAIN", ""), common.model_name, "VIRIDIAN_CHAIN"),
            online=parse_part(Online, _object(env, "VIRIDIAN_ONLINE"), "spec.online"),
            gate=_gate(env) if env.get("VIRIDIAN_GATE") else Gate(),
            config=config,
            seed=seed,
            checkpoint_dir=Path(_text(env, "VIRIDIAN_CHECKPOINT_DIR")),
            port=_port(env),
        )
    )


def checked(task: OnlineInput) -> OnlineInput:
    """``task``, if it can be done.

    Raises
    ------
    BadConfig
        If it has no champion, or asks for what only windows have.
    """
    if task.parent is None:
        raise BadConfig("VIRIDIAN_PARENT is null, but online training starts from a champion; run a Full update first")
    if task.data.replay.ratio:
        raise BadConfig("spec.data.replay.ratio: online training takes every event once; set it to 0")
    return task


def chain_of(name: str, model: str, source: str) -> str:
    """``name``, or that of the model where nothing names a chain; ``source`` is who may.

    Raises
    ------
    BadUsage
        If a store cannot keep it.
    """
    try:
        return checked_part(name or model)
    except ValueError as error:
        raise BadUsage(f"{source}: {error}") from None


def _training(env: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    training = _object(env, "VIRIDIAN_TRAINING")
    config, seed = training.get("config") or {}, training.get("seed", 0)
    if not isinstance(config, dict) or not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise BadUsage('VIRIDIAN_TRAINING must be {"config": object, "seed": integer not below 0}')
    return config, seed


def _port(env: Mapping[str, str]) -> int | None:
    text = env.get("VIRIDIAN_PORT", "")
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise BadUsage(f"VIRIDIAN_PORT is {text!r}; set it to a port, for instance 8080")
    return int(text)


def _gate(env: Mapping[str, str]) -> Gate:
    return parse_part(Gate, _object(env, "VIRIDIAN_GATE"), "spec.gate")


def _predicted(env: Mapping[str, str], holdout: Window) -> Window:
    if env.get("VIRIDIAN_PREDICTED", "null") in ("", "null"):
        raise BadUsage("VIRIDIAN_PREDICTED is null, but the gate judges by what was predicted before it was trained on")
    predicted = _window(env, "VIRIDIAN_PREDICTED")
    if predicted.end != holdout.start:
        raise BadUsage("VIRIDIAN_PREDICTED must end where VIRIDIAN_HOLDOUT begins")
    return predicted


def _common(env: Mapping[str, str]) -> Common:
    return Common(
        update=_update(_object(env, "VIRIDIAN_UPDATE")),
        model_name=_text(env, "VIRIDIAN_MODEL_NAME"),
        data=parse_part(Data, _object(env, "VIRIDIAN_DATA"), "spec.data"),
        parent=_version(env, "VIRIDIAN_PARENT"),
    )


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise BadUsage(f"environment variable {name} is missing")
    return value


def _json(env: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(_text(env, name))
    except ValueError:
        raise BadUsage(f"environment variable {name} is not JSON") from None


def _object(env: Mapping[str, str], name: str) -> dict[str, Any]:
    value = _json(env, name)
    if not isinstance(value, dict):
        raise BadUsage(f"environment variable {name} must be a JSON object")
    return value


def _window(env: Mapping[str, str], name: str) -> Window:
    try:
        return Window.parse(_json(env, name))
    except BadUsage as error:
        raise BadUsage(f"environment variable {name}: {error.message}") from None


def _fresh(env: Mapping[str, str], window: Window) -> dict[str, str]:
    """Without the variable, or for a first model, all events of the window are fresh."""
    if env.get("VIRIDIAN_FRESH", "null") in ("", "null"):
        return dict(window.start)
    fresh = _object(env, "VIRIDIAN_FRESH")
    if set(fresh) != set(window.start) or not all(isinstance(offset, str) for offset in fresh.values()):
        raise BadUsage("environment variable VIRIDIAN_FRESH must name an offset for each partition of VIRIDIAN_WINDOW")
    return fresh


def _version(env: Mapping[str, str], name: str) -> VersionRef | None:
    value = _json(env, name)
    if value is None:
        return None
    version, digest = (value.get("version"), value.get("digest")) if isinstance(value, dict) else (None, None)
    if not isinstance(version, str | int) or not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise BadUsage(f'environment variable {name} must be null or {{"version": "3", "digest": "sha256:<64 hex>"}}')
    return VersionRef(str(version), digest)


def _update(value: dict[str, Any]) -> Update:
    texts, numbers = ("uid", "namespace", "name"), ("number", "attempt")
    for key in texts:
        if not isinstance(value.get(key), str) or not value[key]:
            raise BadUsage(f"VIRIDIAN_UPDATE.{key} must be a non-empty string")
    for key in numbers:
        if not isinstance(value.get(key), int) or isinstance(value[key], bool) or value[key] < 0:
            raise BadUsage(f"VIRIDIAN_UPDATE.{key} must be an integer not below 0")
    if value.get("kind") not in ("Full", "Incremental"):
        raise BadUsage("VIRIDIAN_UPDATE.kind must be Full or Incremental")
    return Update(**{key: value[key] for key in (*texts, *numbers, "kind")})
