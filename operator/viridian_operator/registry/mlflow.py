"""Client of MLflow 3's model registry, as much of it as the control plane needs.

Paths and messages: ``mlflow/protos/model_registry.proto``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import aiohttp

from viridian_operator.registry.credentials import Anonymous, Credentials
from viridian_operator.registry.errors import Invalid, NotFound
from viridian_operator.registry.rest import TOTAL_TIMEOUT, Rest
from viridian_operator.registry.versions import ModelVersion, quoted

API = "api/2.0/mlflow"


class MlflowRegistry:
    """The registry at one address with one set of credentials; cheap to make, holds no connection.

    Parameters
    ----------
    session
        Shared by all registries.
    uri
        Tracking URI, ``http://`` or ``https://``; a path prefix is kept.
    credentials
        By value; never logged.
    total
        Seconds for a call with all its tries.

    Notes
    -----
    Every method raises ``Unauthorized``, ``Unavailable`` or ``Invalid`` where the registry gives reason to.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        uri: str,
        credentials: Credentials | None = None,
        *,
        total: float = TOTAL_TIMEOUT,
    ) -> None:
        self._rest = Rest(session, uri, (credentials or Anonymous()).headers(), total=total)

    async def health(self) -> None:
        """Return if the server answers; raise otherwise."""
        await self._rest.send("GET", "health")

    async def version(self, model: str, number: str | int) -> ModelVersion:
        """One version.

        Raises
        ------
        NotFound
            If the registry has no such version.
        """
        answer = await self._rest.read(f"{API}/model-versions/get", {"name": model, "version": str(number)})
        return ModelVersion.of(answer["model_version"])

    async def artifacts(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """One page of a list of artifacts."""
        return await self._rest.read(f"{API}/{path}", query)

    async def version_by_tag(self, model: str, key: str, value: str) -> ModelVersion | None:
        """The newest version of ``model`` whose tag ``key`` is ``value``; None if there is none."""
        try:
            wanted = f"name={quoted(model)} and tags.`{key}`={quoted(value)}"
        except ValueError as error:
            raise Invalid(str(error)) from error
        # Sorted here: the server's order by version number is one of text in some of its stores.
        answer = await self._rest.read(f"{API}/model-versions/search", {"filter": wanted, "max_results": "100"})
        found = [ModelVersion.of(raw) for raw in answer.get("model_versions") or []]
        return max(found, key=lambda each: int(each.version), default=None)

    async def version_by_update(self, model: str, update_tag: str) -> ModelVersion | None:
        """The version that an update registered, ``update_tag`` being ``<uid>/<number>``."""
        return await self.version_by_tag(model, "viridian.update", update_tag)

    async def versions(self, model: str) -> list[ModelVersion]:
        """All versions of ``model``; none if there is no such model."""
        query, found = {"filter": f"name={quoted(model)}", "max_results": "200"}, list[ModelVersion]()
        while True:
            answer = await self._rest.read(f"{API}/model-versions/search", query)
            found += [ModelVersion.of(raw) for raw in answer.get("model_versions") or []]
            if not (token := answer.get("next_page_token")):
                return found
            query = {**query, "page_token": token}

    async def last_update(self, model: str, uid: str) -> int:
        """Largest number among the updates of ``uid`` that registered a version; 0 if none did."""
        largest = 0
        for version in await self.versions(model):
            owner, _, number = version.tags.get("viridian.update", "").rpartition("/")
            if owner == uid and number.isdigit():
                largest = max(largest, int(number))
        return largest

    async def delete_version(self, model: str, number: str) -> None:
        """Delete a version for good, and its run as far as MLflow does: ``mlflow gc`` frees the files.

        A version or run that is gone already is fine. The version goes last: one that is left is found again.

        Raises
        ------
        Invalid
            If an alias names the version by now: whoever set it wants to keep it.
        """
        try:
            version = await self.version(model, number)
            if number in (await self.aliases(model)).values():
                raise Invalid(f"version {number} of {model} is named by an alias and is not deleted")
        except NotFound:
            return
        if version.run_id:
            with contextlib.suppress(NotFound):
                await self._rest.send("POST", f"{API}/runs/delete", body={"run_id": version.run_id})
        with contextlib.suppress(NotFound):
            body = {"name": model, "version": number}
            await self._rest.send("DELETE", f"{API}/model-versions/delete", body=body)

    async def aliases(self, model: str) -> dict[str, str]:
        """Version number of every alias.

        Raises
        ------
        NotFound
            If the registry has no such model.
        """
        answer = await self._rest.read(f"{API}/registered-models/get", {"name": model})
        raw = answer["registered_model"].get("aliases") or []
        return {each["alias"]: str(each["version"]) for each in raw}

    async def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point ``alias`` at ``version``; ``NotFound`` if there is no such version."""
        body = {"name": model, "alias": alias, "version": version}
        await self._rest.send("POST", f"{API}/registered-models/alias", body=body)

    async def delete_alias(self, model: str, alias: str) -> None:
        """Remove ``alias``; one that does not exist is fine."""
        await self._rest.send("DELETE", f"{API}/registered-models/alias", body={"name": model, "alias": alias})

    async def set_version_tag(self, model: str, version: str, key: str, value: str) -> None:
        """Write a tag; ``NotFound`` if there is no such version."""
        body = {"name": model, "version": version, "key": key, "value": value}
        await self._rest.send("POST", f"{API}/model-versions/set-tag", body=body)
