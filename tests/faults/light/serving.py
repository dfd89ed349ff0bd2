"""The server's side of the contract, with faults on demand.

Faults of the start come from ``VIRIDIAN_FAULT``, a JSON object by version (``*`` for all): ``crash``, ``oom``,
``slow`` (seconds) and ``digest`` (said instead of the true one). Faults in service come by ``POST /fault``: ``crash``,
``oom``, ``unready``, ``status``, ``delay`` (seconds), ``deaf`` (refuses to flip) or ``stage`` (a fault of the version
that is staged next: one of the start, or ``status``); what is posted replaces what was posted before.
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

from contract import infer
from memory import Loaded, Memory, load, misbehave

REVISION = Path(os.environ.get("VIRIDIAN_REVISION_DIR", "/etc/viridian/revision"))
TOKEN = Path(os.environ.get("VIRIDIAN_ADMIN_TOKEN_FILE", "/etc/viridian/admin/token"))
DRAIN_SECONDS = 2.0


class State:
    """How this pod is; what it serves is in its memory."""

    def __init__(self) -> None:
        revision = json.loads((REVISION / "revision.json").read_text())
        faults = json.loads(os.environ.get("VIRIDIAN_FAULT") or "{}")
        self.memory = Memory(Loaded(revision, faults.get(revision["version"]) or faults.get("*") or {}))
        self.fault: dict[str, Any] = {}
        self.loaded = self.retired = self.draining = False
        self.answered = 0

    @property
    def ready(self) -> bool:
        """Whether it may have traffic."""
        return self.loaded and not self.draining and not self.fault.get("unready")

    def identity(self) -> dict[str, Any]:
        """The answer of the identity endpoint."""
        serving = self.memory.current
        about = {name: serving.revision.get(name) for name in ("model", "version", "eventTime")}
        phase = "Ready" if self.loaded else "Loading"
        rest = {"sequence": 0, "merkleRoot": "", "phase": phase, "error": None}
        residents = self.memory.residents() if self.loaded else []
        return {
            **about,
            **rest,
            "digest": serving.digest,
            "ready": self.ready,
            "retired": self.retired,
            "residents": residents,
        }

    def headers(self, serving: Loaded) -> dict[str, str]:
        """Headers of every answer of a loaded model."""
        if not self.loaded:
            return {}
        moment = datetime.fromtimestamp(serving.revision.get("eventTime") or 0, UTC)
        watermark = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        version = serving.revision["version"]
        return {"x-model-version": version, "x-model-digest": serving.digest, "x-model-watermark": watermark}

    def load(self) -> None:
        """Load what the ConfigMap names; until then it is not ready."""
        load(self.memory.current)
        self.loaded = True


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version, wbufsize, disable_nagle_algorithm = "HTTP/1.1", -1, True
    state: State
    #: what answers this request, from its beginning to its end
    serving: Loaded

    def do_GET(self) -> None:
        """Health, metadata, identity, metrics."""
        state, self.serving = self.state, self.state.memory.current
        revision = self.serving.revision
        model = f"/v2/models/{revision['model']}"
        paths = (model, f"{model}/versions/{revision['version']}")
        if self.path == "/v2/health/live":
            self._answer(200)
        elif self.path in ("/v2/health/ready", *(f"{path}/ready" for path in paths)):
            self._answer(200 if state.ready else 503)
        elif self.path == "/viridian/v1/identity":
            self._answer(200, state.identity())
        elif self.path in ("/v2", *paths):
            self._answer(200, {"name": revision["model"], "versions": [revision["version"]]})
        elif self.path == "/metrics":
            self._answer(200, text=f'viridian_requests_total{{code="200"}} {state.answered}\n')
        else:
            self._answer(404, {"error": self.path})

    def do_POST(self) -> None:
        """Inference, admin calls, faults."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        state, self.serving = self.state, self.state.memory.current
        revision = self.serving.revision
        start = f"/v2/models/{revision['model']}/"
        if self.path == "/fault":
            state.fault = json.loads(body)
            self._answer(200, state.fault)
            self.wfile.flush()
            misbehave(state.fault)
        elif self.path.startswith("/viridian/v1/admin/"):
            self._admin(self.path.rpartition("/")[2], body)
        elif self.path in (f"{start}infer", f"{start}versions/{revision['version']}/infer"):
            self._infer(body)
        else:
            self._answer(404, {"error": self.path})

    def _infer(self, body: bytes) -> None:
        state, request = self.state, json.loads(body)
        time.sleep(float(state.fault.get("delay", 0)))
        fault = self.serving.fault | state.fault
        status = int(fault.get("status") or (200 if state.loaded else 503))
        if status != 200:
            self._answer(status, {"error": "fault" if state.loaded else "not loaded"})
            return
        state.answered += 1
        about = {"model_name": self.serving.revision["model"], "model_version": self.serving.revision["version"]}
        outputs = infer(self.serving.digest, request["inputs"])
        answer = {**about, "parameters": {"digest": self.serving.digest}, "outputs": outputs}
        self._answer(200, answer | ({"id": request["id"]} if "id" in request else {}))

    def _admin(self, verb: str, body: bytes) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN.read_text().strip()}":
            self._answer(403 if "Authorization" in self.headers else 401)
            return
        status = self._told(verb, json.loads(body) if body else {})
        self._answer(status, self.state.identity())

    def _told(self, verb: str, wanted: dict[str, Any]) -> int:
        """Do what the operator asks for; the status of the answer."""
        state = self.state
        if verb == "stage":
            revision = {"model": state.memory.current.revision["model"], **wanted}
            return 202 if state.memory.stage(Loaded(revision, state.fault.get("stage") or {})) else 409
        if verb == "flip":
            return 200 if not state.fault.get("deaf") and state.memory.flip(wanted["digest"]) else 409
        if verb == "unstage":
            state.memory.unstage()
        else:
            state.retired = verb == "retire"
        return 200

    def _answer(self, status: int, body: Any = None, text: str = "") -> None:
        data = (text or ("" if body is None else json.dumps(body))).encode()
        self.send_response(status)
        closes = {"Connection": "close"} if self.state.retired or self.state.draining else {}
        about = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {**self.state.headers(self.serving), **about, **closes}.items():
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
