"""MLflow through its REST interface, from outside of the cluster."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from loop.forwarding import forwarded
from loop.installing import SYSTEM
from viridian_demo.commands import Tools

_API = "api/2.0/mlflow"
_REPORT = re.compile(r"/#/experiments/(?P<experiment>[^/]+)/runs/(?P<run>[^/]+)/artifacts/(?P<path>.+)$")
TIMEOUT = 30


class Mlflow:
    """The registry at an address."""

    def __init__(self, address: str) -> None:
        self._base = address

    def aliases(self, model: str) -> dict[str, str]:
        """Version of every alias."""
        found = self._get("registered-models/get", name=model)["registered_model"]
        return {alias["alias"]: str(alias["version"]) for alias in found.get("aliases") or []}

    def versions(self, model: str) -> list[dict[str, Any]]:
        """All versions, with their tags as a map."""
        found = self._get("model-versions/search", filter=f"name='{model}'", max_results="100")
        return [_with_tags(version) for version in found.get("model_versions") or []]

    def version(self, model: str, number: str) -> dict[str, Any]:
        """One version, with its tags as a map."""
        return _with_tags(self._get("model-versions/get", name=model, version=number)["model_version"])

    def golden(self, model: str, number: str) -> dict[str, Any]:
        """Golden requests of a version, by its digest, as the load client reads them."""
        tags = self.version(model, number)["tags"]
        return {tags["viridian.digest"]: json.loads(tags["viridian.golden"])}

    def report(self, address: str) -> str:
        """The page that a link of status leads to, fetched as MLflow's pages fetch an artifact."""
        found = _REPORT.search(address)
        assert found, f"{address} is no page of an artifact"
        run = self._get("runs/get", run_id=found["run"])["run"]
        assert run["info"]["experiment_id"] == found["experiment"], "MLflow shows no run under another experiment"
        query = urllib.parse.urlencode({"run_uuid": found["run"], "path": urllib.parse.unquote(found["path"])})
        with urllib.request.urlopen(f"{self._base}/get-artifact?{query}", timeout=TIMEOUT) as answer:
            text: str = answer.read().decode()
        return text

    def register(self, model: str, source: str, run: str, tags: dict[str, str]) -> str:
        """A new version; returns its number."""
        pairs = [{"key": key, "value": value} for key, value in tags.items()]
        body = {"name": model, "source": source, "run_id": run, "tags": pairs}
        return str(self._post("model-versions/create", body)["model_version"]["version"])

    def run_with_file(self, name: str, text: str) -> tuple[str, str]:
        """A run with one artifact below ``bundle/``; returns its id and the address of that folder."""
        info = self._post("runs/create", {"experiment_id": "0"})["run"]["info"]
        folder = f"{info['artifact_uri']}/bundle"
        path = urllib.parse.urlsplit(folder).path.lstrip("/")
        self._send("PUT", f"api/2.0/mlflow-artifacts/artifacts/{path}/{name}", text.encode())
        return info["run_id"], folder

    def _get(self, path: str, **query: str) -> Any:
        return self._send("GET", f"{_API}/{path}?{urllib.parse.urlencode(query)}")

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("POST", f"{_API}/{path}", json.dumps(body).encode())

    def _send(self, method: str, path: str, body: bytes | None = None) -> Any:
        kind = {"Content-Type": "application/json"} if method == "POST" else {}
        request = urllib.request.Request(f"{self._base}/{path}", data=body, method=method, headers=kind)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.loads(answer.read() or b"{}")


@contextlib.contextmanager
def mlflow(tools: Tools) -> Iterator[Mlflow]:
    """The registry of the release."""
    with forwarded(tools, SYSTEM, "service/viridian-mlflow", 5000) as port:
        yield Mlflow(f"http://127.0.0.1:{port}")


def _with_tags(version: dict[str, Any]) -> dict[str, Any]:
    return {**version, "tags": {tag["key"]: tag.get("value", "") for tag in version.get("tags") or []}}
