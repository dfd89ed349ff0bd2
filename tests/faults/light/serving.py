"""The server's side of the contract, with faults on demand.

Faults of the start come from ``VIRIDIAN_FAULT``, a JSON object by version (``*`` for all): ``crash``, ``oom``,
``slow`` (seconds) and ``digest`` (said instead of the true one). Faults in service come by ``POST /fault``: ``crash``,
``oom``, ``unready``, ``status`` or ``delay`` (seconds); what is posted replaces what was posted before.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from contract import Failure, Mlflow, canonical, infer, sha256

REVISION = Path(os.environ.get("VIRIDIAN_REVISION_DIR", "/etc/viridian/revision"))
TOKEN = Path(os.environ.get("VIRIDIAN_ADMIN_TOKEN_FILE", "/etc/viridian/admin/token"))
DRAIN_SECONDS, FETCH_SECONDS = 2.0, 20.0


class State:
    """What this pod serves and how it is."""

    def __init__(self) -> None:
        self.revision = json.loads((REVISION / "revision.json").read_text())
        faults = json.loads(os.environ.get("VIRIDIAN_FAULT") or "{}")
        self.at_start: dict[str, Any] = faults.get(self.revision["version"]) or faults.get("*") or {}
        self.fault: dict[str, Any] = {}
        self.loaded = self.retired = self.draining = False
        self.answered = 0

    @property
    def ready(self) -> bool:
        """Whether it may have traffic."""
        return self.loaded and not self.draining and not self.fault.get("unready")

    @property
    def digest(self) -> str:
        """What it says that it serves."""
        return str(self.at_start.get("digest") or self.revision["digest"])

    def identity(self) -> dict[str, Any]:
        """The answer of the identity endpoint."""
        about = {name: self.revision.get(name) for name in ("model", "version", "eventTime")}
        phase = "Ready" if self.loaded else "Loading"
        rest = {"sequence": 0, "merkleRoot": "", "phase": phase, "error": None}
        return {**about, "digest": self.digest, "ready": self.ready, "retired": self.retired, **rest}

    def headers(self) -> dict[str, str]:
        """Headers of every answer of a loaded model."""
        if not self.loaded:
            return {}
        moment = datetime.fromtimestamp(self.revision.get("eventTime") or 0, UTC)
        watermark = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        version = self.revision["version"]
        return {"x-model-version": version, "x-model-digest": self.digest, "x-model-watermark": watermark}

    def load(self) -> None:
        """Fetch and verify the bundle; the store comes before MLflow."""
        misbehave(self.at_start)
        time.sleep(float(self.at_start.get("slow", 0)))
        wanted = self.revision["digest"]
        store = Path(os.environ["VIRIDIAN_BUNDLE_STORE"]) / wanted.removeprefix("sha256:")
        if not store.is_dir():
            _fetch(self.revision, store)
        manifest = (store / "manifest.json").read_text()
        if f"sha256:{sha256(canonical(json.loads(manifest)))}" != wanted:
            raise Failure(65, "DigestMismatch", f"the manifest is not that of {wanted}")
        if sha256((store / "weights").read_text()) != json.loads(manifest)["files"]["weights"]["sha256"]:
            raise Failure(65, "DigestMismatch", "the file weights is not that of the manifest")
        self.loaded = True


def _fetch(revision: dict[str, Any], store: Path) -> None:
    """Into the store under its digest, complete or not at all; a registry that is away is waited for."""
    deadline = time.monotonic() + FETCH_SECONDS
    while True:
        try:
            files = _download(revision)
            break
        except Failure as failure:
            if failure.code != 75 or time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    part = store.with_suffix(f".{os.getpid()}")
    part.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (part / name).write_text(text)
    manifest = f"sha256:{sha256(canonical(json.loads(files['manifest.json'])))}"
    if manifest != revision["digest"]:
        raise Failure(65, "DigestMismatch", f"the registry holds {manifest} instead of {revision['digest']}")
    part.rename(store)


def _download(revision: dict[str, Any]) -> dict[str, str]:
    registry = Mlflow()
    where = registry.get("model-versions/get-download-uri", name=revision["model"], version=revision["version"])
    texts = {name: where and registry.download(where["artifact_uri"], name) for name in ("manifest.json", "weights")}
    if missing := [name for name, text in texts.items() if text is None]:
        raise Failure(65, "VersionMissing", f"version {revision['version']} has no {' and no '.join(missing)}")
    return texts


def misbehave(fault: dict[str, Any]) -> None:
    """Crash or take memory until the end, if that is the fault."""
    if fault.get("crash"):
        os._exit(1)
    taken = []
    while fault.get("oom"):
        taken.append(b"\1" * (4 << 20))


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True
    state: State

    def do_GET(self) -> None:
        """Health, metadata, identity, metrics."""
        state, model = self.state, f"/v2/models/{self.state.revision['model']}"
        paths = (model, f"{model}/versions/{state.revision['version']}")
        if self.path == "/v2/health/live":
            self._answer(200)
        elif self.path in ("/v2/health/ready", *(f"{path}/ready" for path in paths)):
            self._answer(200 if state.ready else 503)
        elif self.path == "/viridian/v1/identity":
            self._answer(200, state.identity())
        elif self.path in ("/v2", *paths):
            self._answer(200, {"name": state.revision["model"], "versions": [state.revision["version"]]})
        elif self.path == "/metrics":
            self._answer(200, text=f'viridian_requests_total{{code="200"}} {state.answered}\n')
        else:
            self._answer(404, {"error": self.path})

    def do_POST(self) -> None:
        """Inference, admin calls, faults."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        state, start = self.state, f"/v2/models/{self.state.revision['model']}/"
        if self.path == "/fault":
            state.fault = json.loads(body)
            self._answer(200, state.fault)
            self.wfile.flush()
            misbehave(state.fault)
        elif self.path.startswith("/viridian/v1/admin/"):
            self._admin(self.path.rpartition("/")[2])
        elif self.path in (f"{start}infer", f"{start}versions/{state.revision['version']}/infer"):
            self._infer(body)
        else:
            self._answer(404, {"error": self.path})

    def _infer(self, body: bytes) -> None:
        state, request = self.state, json.loads(body)
        time.sleep(float(state.fault.get("delay", 0)))
        status = int(state.fault.get("status") or (200 if state.loaded else 503))
        if status != 200:
            self._answer(status, {"error": "fault" if state.loaded else "not loaded"})
            return
        state.answered += 1
        about = {"model_name": state.revision["model"], "model_version": state.revision["version"]}
        outputs = infer(state.digest, request["inputs"])
        answer = {**about, "parameters": {"digest": state.digest}, "outputs": outputs}
        self._answer(200, answer | ({"id": request["id"]} if "id" in request else {}))

    def _admin(self, verb: str) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN.read_text().strip()}":
            self._answer(403 if "Authorization" in self.headers else 401)
            return
        self.state.retired = verb == "retire"
        self._answer(200, self.state.identity())

    def _answer(self, status: int, body: Any = None, text: str = "") -> None:
        data = (text or ("" if body is None else json.dumps(body))).encode()
        self.send_response(status)
        closes = {"Connection": "close"} if self.state.retired or self.state.draining else {}
        about = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {**self.state.headers(), **about, **closes}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """One thread per connection."""

    request_queue_size, daemon_threads = 256, True


def serve() -> None:
    """Load beside the server, serve until SIGTERM, then drain."""
    state = Handler.state = State()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = Server((os.environ.get("VIRIDIAN_HOST", ""), int(os.environ["VIRIDIAN_PORT"])), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.load()
    stop.wait()
    state.draining = True
    time.sleep(DRAIN_SECONDS)
