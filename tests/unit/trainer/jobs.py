"""Tasks run as the operator runs them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from worlds import CONFIG, FIELDS

from viridian_trainer.eventlog.redis_stream import RedisEventLog, RedisSource
from viridian_trainer.publish import to_redis
from viridian_trainer.task import run

GATE = {"margin": 0.02, "minEvents": 300, "floors": {"auroc": 0.6}}


@dataclass
class Job:
    """Runs tasks as the operator does, against streams and a registered model of their own."""

    folder: Path
    redis_url: str
    mlflow_url: str
    model: str

    def environment(self, task: str, number: int, kind: str, **changes: Any) -> dict[str, str]:
        variables = {
            "VIRIDIAN_UPDATE": {
                "uid": f"uid-{self.model}",
                "namespace": "recsys",
                "name": self.model,
                "number": number,
                "attempt": 1,
                "kind": kind,
            },
            "VIRIDIAN_PARENT": None,
            "VIRIDIAN_REFERENCE": None,
            "VIRIDIAN_DATA": {
                "source": {"redisStream": {"url": self.redis_url, "stream": "clicks", "partitions": 2}},
                "schema": FIELDS,
            },
            "VIRIDIAN_TRAINING": {"config": CONFIG, "seed": 7},
            "VIRIDIAN_GATE": GATE,
            **changes,
        }
        return {name: json.dumps(value) for name, value in variables.items()} | {
            "VIRIDIAN_TASK": task,
            "VIRIDIAN_MODEL_NAME": self.model,
            "VIRIDIAN_CHECKPOINT_DIR": str(self.folder / "checkpoints"),
            "MLFLOW_TRACKING_URI": self.mlflow_url,
        }

    def run(self, env: dict[str, str]) -> tuple[int, dict[str, Any]]:
        log = self.folder / "termination-log"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VIRIDIAN_TERMINATION_LOG", str(log))
            code = self.execute(env)
        assert log.stat().st_size <= 4096
        return code, json.loads(log.read_text())

    def execute(self, env: dict[str, str]) -> int:
        """Run the task; tests of other images start a process instead."""
        return run(env)

    def append(self, events: list[dict[str, Any]]) -> None:
        to_redis(RedisSource(self.redis_url, "clicks", 2), events, None, lambda _: None)

    def heads(self) -> dict[str, str]:
        return RedisEventLog(RedisSource(self.redis_url, "clicks", 2)).heads()

    def train(self, number: int, start: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        window = {"from": start or {"0": "0@0-0", "1": "0@0-0"}, "to": self.heads()}
        kind = "Incremental" if changes.get("VIRIDIAN_PARENT") else "Full"
        code, result = self.run(self.environment("Train", number, kind, VIRIDIAN_WINDOW=window, **changes))
        assert code == 0, result
        return result

    def evaluate(self, candidate: dict[str, Any], champion: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
        env = self.environment(
            "Evaluate",
            1,
            "Incremental",
            VIRIDIAN_CANDIDATE=reference(candidate),
            VIRIDIAN_PARENT=reference(champion) if champion else None,
            VIRIDIAN_HOLDOUT=candidate["holdout"],
            **changes,
        )
        code, result = self.run(env)
        assert code == 0, result
        return result


def reference(result: dict[str, Any]) -> dict[str, str]:
    return {"version": result["version"], "digest": result["digest"]}
