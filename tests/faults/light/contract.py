"""What trainer and server of the light image share: canonical JSON, the model, MLflow over REST."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

API = "api/2.0/mlflow"
ARTIFACTS = "api/2.0/mlflow-artifacts/artifacts"
NAMES = ("user", "item", "hour")


class Failure(Exception):
    """Ends the process with ``code`` and says why in the termination log."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    def text(self) -> str:
        """The termination message."""
        return json.dumps({"error": {"reason": self.reason, "message": str(self)[:300]}})


def canonical(value: Any) -> str:
    """Canonical JSON of the contract."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256(text: str) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


def infer(digest: str, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model: a probability out of the digest and the values of an example, so that every version differs."""
    columns = [[str(value) for value in tensor["data"]] for tensor in inputs]
    rows = list(zip(*columns, strict=True))
    data = [int(sha256("|".join([digest, *row]))[:8], 16) / 2**32 for row in rows]
    return [{"name": "probability", "datatype": "FP32", "shape": [len(data)], "data": data}]


def golden(digest: str) -> dict[str, Any]:
    """Golden requests with the answers of the version with this digest."""
    examples = [("u1", "i1", "7"), ("u2", "i9", "21")]
    inputs = [
        [
            {"name": name, "datatype": "BYTES", "shape": [1], "data": [value]}
            for name, value in zip(NAMES, row, strict=True)
        ]
        for row in examples
    ]
    return {"tolerance": 1e-6, "requests": [{"inputs": each, "outputs": infer(digest, each)} for each in inputs]}


def _tensor(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "datatype": "BYTES", "shape": [1], "data": [value]}


class Mlflow:
    """The registry at ``MLFLOW_TRACKING_URI``."""

    def __init__(self) -> None:
        self._base = os.environ["MLFLOW_TRACKING_URI"].rstrip("/")

    def get(self, path: str, **query: str) -> Any:
        """A question to the API; None if there is no such thing."""
        return self._json("GET", f"{API}/{path}?{urllib.parse.urlencode(query)}")

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """A command; None if the thing does not exist, or exists already."""
        return self._json("POST", f"{API}/{path}", json.dumps(body).encode())

    def upload(self, folder: str, name: str, text: str) -> None:
        """One artifact."""
        self._send("PUT", f"{ARTIFACTS}/{path_of(folder)}/{name}", text.encode())

    def download(self, folder: str, name: str) -> str | None:
        """One artifact; None if there is none."""
        return self._send("GET", f"{ARTIFACTS}/{path_of(folder)}/{name}")

    def _json(self, method: str, path: str, body: bytes | None = None) -> Any:
        text = self._send(method, path, body)
        return None if text is None else json.loads(text or "{}")

    def _send(self, method: str, path: str, body: bytes | None = None) -> str | None:
        request = urllib.request.Request(f"{self._base}/{path}", data=body, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code == 404 or "RESOURCE_ALREADY_EXISTS" in text:
                return None
            if error.code in (401, 403):
                raise Failure(78, "BadConfig", f"MLflow refuses: {error.code} {text}") from None
            raise Failure(75, "RegistryUnreachable", f"MLflow answers {error.code}: {text}") from None
        except OSError as error:
            raise Failure(75, "RegistryUnreachable", f"MLflow does not answer: {error}") from None


def path_of(folder: str) -> str:
    """Path of a folder ``mlflow-artifacts:/…`` below the artifact server."""
    return urllib.parse.urlsplit(folder).path.strip("/")
