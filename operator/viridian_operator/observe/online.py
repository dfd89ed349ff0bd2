"""The online trainer: its Deployment, its pod, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from viridian_operator.api import names
from viridian_operator.api.children import ONLINE_PORT, ONLINE_TRAINER, serving_port, url_of
from viridian_operator.api.version import ModelRef, Numbers
from viridian_operator.decide.observation import OnlineReport, OnlineTrainerView
from viridian_operator.kube.resources import Key, Manifest
from viridian_operator.observe.deployments import monitor_view
from viridian_operator.observe.prober import Prober
from viridian_operator.observe.troubles import trouble_of

PATH = "/viridian/v1/online"


def trainer_view(deployments: Iterable[Manifest], pods: Iterable[Manifest], key: Key) -> OnlineTrainerView | None:
    """The Deployment of the online trainer and the trouble of its pod; None if there is none."""
    wanted = names.online_trainer(key.name)
    found = next((each for each in deployments if each["metadata"]["name"] == wanted), None)
    if found is None:
        return None
    view, annotations = monitor_view(found), found["metadata"].get("annotations") or {}
    troubles = (trouble_of(pod) for pod in _trainers(pods))
    trouble = next((f"{each[0]}: {each[1]}" for each in troubles if each), "")
    return OnlineTrainerView(
        chain=annotations.get(names.ANNOTATION_CHAIN, ""),
        failure=trouble or view.failure,
    )


def trainer_address(pods: Iterable[Manifest]) -> str:
    """Base URL of the trainer's pod, if one runs; "" if not."""
    running = (pod for pod in _trainers(pods) if (pod.get("status") or {}).get("podIP"))
    return next((url_of(pod["status"]["podIP"], serving_port(pod["spec"], ONLINE_PORT)) for pod in running), "")


async def ask_trainer(prober: Prober, address: str) -> OnlineReport | None:
    """What the trainer at ``address`` says; None if it says nothing that can be read."""
    answer = await prober.ask(f"{address}{PATH}")
    return report_of(answer.json()) if answer.status == 200 else None


def report_of(body: Any) -> OnlineReport | None:
    """An answer of ``GET /viridian/v1/online``; None if it is of another form."""
    try:
        told = _Told.model_validate(body)
    except ValidationError:
        return None
    return OnlineReport(
        state=told.state,
        chain=told.chain,
        sequence=told.sequence,
        root=told.root,
        event_time=told.event_time,
        lag_events=told.lag.events,
        lag_seconds=told.lag.seconds,
        deltas_per_second=told.published.per_second,
        reverts=told.reverts,
        p_value=told.test.bound,
        metrics={"online": told.prequential.online, "champion": told.prequential.champion},
        pending=_pending(told.anchor),
        error=told.error or "",
    )


def _trainers(pods: Iterable[Manifest]) -> Iterator[Manifest]:
    for pod in pods:
        meta = pod["metadata"]
        if (meta.get("labels") or {}).get(names.COMPONENT) == ONLINE_TRAINER and not meta.get("deletionTimestamp"):
            yield pod


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class _Lag(_Part):
    events: int = 0
    seconds: float = 0.0


class _Published(_Part):
    per_second: float = 0.0


class _Test(_Part):
    bound: float | None = None


class _Prequential(_Part):
    online: Numbers = {}
    champion: Numbers = {}


class _Anchor(_Part):
    version: str = ""
    digest: str = ""
    at: float | None = None


class _Told(_Part):
    """docs/reference/online.md; a trainer that starts says little more than that."""

    state: str
    chain: str = ""
    sequence: str = ""
    root: str = ""
    event_time: float | None = None
    lag: _Lag = _Lag()
    published: _Published = _Published()
    prequential: _Prequential = _Prequential()
    test: _Test = _Test()
    reverts: int = Field(default=0, ge=0)
    anchor: _Anchor | None = None
    error: str | None = None


def _pending(anchor: _Anchor | None) -> ModelRef | None:
    """Of the champion the trainer does not say when it was made; an anchor without a version is not registered yet."""
    if anchor is None or anchor.at is None or not anchor.version:
        return None
    return ModelRef(version=anchor.version, digest=anchor.digest)
