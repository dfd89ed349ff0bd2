"""The table of metrics, the alerts of the chart, and what the operator exports name the same metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from prometheus_client.core import Metric

from viridian_operator.kube.workqueue import WorkQueue
from viridian_operator.runtime.metrics import Metrics

ROOT = Path(__file__).parents[4]
ROW = re.compile(r"^\| `(viridian_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)


@pytest.fixture(scope="module")
def exported() -> dict[str, str]:
    """Type of each metric by its name as Prometheus has it."""
    families = [each for each in asyncio.run(_collected()) if each.name.startswith("viridian_")]
    return {f"{each.name}_total" if each.type == "counter" else each.name: each.type for each in families}


async def _collected() -> list[Metric]:
    metrics = Metrics()
    metrics.queue.follow(WorkQueue[str]())
    return list(metrics.registry.collect())


def test_the_reference_names_every_metric_and_no_other(exported: dict[str, str]) -> None:
    text = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    assert {name: kind for name, kind, _ in ROW.findall(text)} == exported


@pytest.mark.parametrize("path", sorted((ROOT / "charts/viridian/files/alerts").glob("*.yaml")), ids=lambda p: p.stem)
def test_an_alert_asks_for_metrics_that_there_are(path: Path, exported: dict[str, str]) -> None:
    used = set(re.findall(r"viridian_\w+(?=\{)", path.read_text(encoding="utf-8")))
    base = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in exported else name for name in used}
    assert base <= exported.keys()
