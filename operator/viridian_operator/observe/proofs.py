"""Questions to what serves: identity, golden requests, the Service itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from viridian_operator.api.names import serves
from viridian_operator.api.serves import GOLDEN_FILE, read_serves
from viridian_operator.api.spec import ModelUpdateSpec
from viridian_operator.api.status import ModelUpdateStatus, Revision
from viridian_operator.decide.capacity import swaps
from viridian_operator.decide.observation import Identity, Observation, OnlineTrainerView, PodView, ServiceView
from viridian_operator.kube.resources import CONFIG_MAP, POD, SERVICE, Manifest
from viridian_operator.observe.golden import Golden, ask_golden, golden_of
from viridian_operator.observe.identity import ask_identity, ask_service
from viridian_operator.observe.needs import Needs
from viridian_operator.observe.online import ask_trainer, trainer_address
from viridian_operator.observe.pods import address_of, is_serving
from viridian_operator.observe.prober import Prober
from viridian_operator.observe.services import service_url
from viridian_operator.observe.sight import Raw, of_kind


async def prove(
    seen: Observation,
    raw: Raw,
    spec: ModelUpdateSpec,
    status: ModelUpdateStatus,
    needs: Needs,
    prober: Prober,
) -> Observation:
    """``seen`` with the answers that this pass needs; all questions go out at the same time."""
    asking = _Asking(seen, raw, spec, status, needs, prober)
    pods, service, online = await asyncio.gather(asking.pods(), asking.active_service(), asking.online_trainer())
    return replace(seen, pods=pods, active_service=service, online=online)


@dataclass(frozen=True)
class _Asking:
    seen: Observation
    raw: Raw
    spec: ModelUpdateSpec
    status: ModelUpdateStatus
    needs: Needs
    prober: Prober

    async def pods(self) -> tuple[PodView, ...]:
        """Pods with identity and golden verdict, where they are asked and answer."""
        addresses = addresses_of(self.raw, self.spec.serving.port)
        return tuple(await asyncio.gather(*(self._pod(pod, addresses.get(pod.name, "")) for pod in self.seen.pods)))

    async def _pod(self, pod: PodView, address: str) -> PodView:
        if not (pod.ready and pod.ip and address):
            return pod
        if swaps(self.status.update):
            return await self._swapped(pod, address)
        identity, golden = await asyncio.gather(self._identity(pod, address), self._golden(pod, address))
        return replace(pod, identity=identity, golden=golden)

    async def _swapped(self, pod: PodView, address: str) -> PodView:
        """One after the other: golden answers of a pod that is flipped in between would be those of the old version."""
        identity, green = await self._identity(pod, address), self._green()
        flipped = identity is not None and green is not None and identity.digest == green.digest
        golden = await self._golden(pod, address) if flipped else None
        return replace(pod, identity=identity, golden=golden)

    async def _identity(self, pod: PodView, address: str) -> Identity | None:
        asked = self.needs.identity is None or pod.revision in self.needs.identity
        return await ask_identity(self.prober, address) if asked else None

    async def _golden(self, pod: PodView, address: str) -> str | None:
        revision = self._green()
        if revision is None or pod.revision not in self.needs.golden or pod.revision != revision.hash:
            return None
        golden = record_of(self.raw, revision)
        return None if golden is None else await ask_golden(self.prober, address, self.spec.model.name, golden)

    async def active_service(self) -> ServiceView | None:
        """The active Service with the digests that answer through it, once it should answer with one only."""
        service = self.seen.active_service
        wanted = self.needs.service
        if service is None or not wanted or service.revision != wanted or set(service.endpoints) != {wanted}:
            return service
        address = service_url(self.raw[SERVICE.kind, service.name])
        answered = await ask_service(self.prober, address) if address else None
        return replace(service, answered=answered)

    async def online_trainer(self) -> OnlineTrainerView | None:
        """The online trainer with its word, if its pod is there to give it."""
        trainer = self.seen.online
        address = trainer_address(of_kind(self.raw, POD.kind))
        if trainer is None or not self.needs.online or not address:
            return trainer
        return replace(trainer, report=await ask_trainer(self.prober, address))

    def _green(self) -> Revision | None:
        return self.status.update.green if self.status.update else None


def record_of(raw: Raw, revision: Revision) -> Golden | None:
    """The golden requests of a revision in its record; None if there are none to be read."""
    if not revision.swappable:
        config_map = raw.get((CONFIG_MAP.kind, revision.deployment))
        return golden_of((config_map.get("data") or {}).get(GOLDEN_FILE)) if config_map else None
    config_map = raw.get((CONFIG_MAP.kind, serves(revision.deployment)))
    said = read_serves(config_map) if config_map else None
    return golden_of(said.golden.get(revision.digest)) if said else None


def addresses_of(raw: Mapping[tuple[str, str], Manifest], port: int) -> dict[str, str]:
    """Base URL of each serving pod by its name."""
    return {pod["metadata"]["name"]: address_of(pod, port) for pod in of_kind(raw, POD.kind) if is_serving(pod)}
