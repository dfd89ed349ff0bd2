"""What follows a store in a pod, without the HTTP part."""

from __future__ import annotations

import threading
from typing import Any

from live_trainer import INPUTS
from pod import Site, until

from viridian_model.inference import infer
from viridian_server.metrics import Metrics
from viridian_server.online.following import Following
from viridian_server.revision import Revision
from viridian_server.settings import read_settings
from viridian_server.state import ServerState

NEVER = "86400"


class Replica:
    """A replica in this process; its check of memory runs when it is called only."""

    def __init__(self, site: Site, url: str, *, chain: str = "", **env: str) -> None:
        settings = read_settings(site.env(VIRIDIAN_STORE=url, **{"VIRIDIAN_CHECK_SECONDS": NEVER, **env}))
        self.revision = Revision("ctr", "3", "sha256:" + "0" * 64, None, None, follow=True, chain_name=chain)
        self.state, self.metrics = ServerState(self.revision, None), Metrics()
        self.following = Following(self.revision, self.state, self.metrics, settings)

    def start(self) -> Replica:
        self.state.serve(self.following.load(self.revision, lambda _: None, threading.Event()))
        self.following.start()
        return self

    @property
    def sequence(self) -> str:
        assert self.state.snapshot
        return str(self.state.snapshot.sequence)

    def reaches(self, sequence: object) -> None:
        until(lambda: self.sequence == str(sequence))

    def answers(self) -> Any:
        assert self.state.snapshot
        return infer(self.state.snapshot.model, INPUTS)

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0
