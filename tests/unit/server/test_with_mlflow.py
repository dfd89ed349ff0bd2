"""Fetching from a real MLflow server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pod import BODY, INFER, Process, Site, exchange
from sample_bundle import write

Start = Callable[..., Process]


def register(uri: str, name: str, bundle: Path, tag: str, *, runs_uri: bool) -> str:
    """Log a bundle and create a version of it, as a trainer does; return the version."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(bundle), "bundle")
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    source = f"runs:/{run.info.run_id}/bundle" if runs_uri else f"{run.info.artifact_uri}/bundle"
    version = client.create_model_version(name, source, run.info.run_id, tags={"viridian.digest": tag})
    return str(version.version)


@pytest.mark.parametrize("runs_uri", [True, False])
def test_fetches_into_the_store_once_and_repairs_it(
    site: Site, start: Start, mlflow_url: str, tmp_path: Path, runs_uri: bool
) -> None:
    digest = write(tmp_path / "b")
    version = register(mlflow_url, "ctr", tmp_path / "b", digest, runs_uri=runs_uri)
    site.want(digest, version=version)
    server = start(MLFLOW_TRACKING_URI=mlflow_url, VIRIDIAN_DRAIN_SECONDS="0").wait_ready()
    entry = site.store / digest.removeprefix("sha256:")
    assert [path.name for path in site.store.iterdir()] == [entry.name]
    assert sorted(os.listdir(entry)) == sorted(os.listdir(tmp_path / "b"))
    status, headers, body = exchange(server.connect(), "POST", INFER, BODY)
    assert (status, headers["x-model-version"], headers["x-model-digest"]) == (200, version, digest)
    server.terminate()
    assert server.wait() == 0

    (entry / "weights.safetensors").write_bytes(b"rotten")
    server = start(MLFLOW_TRACKING_URI=mlflow_url).wait_ready()
    assert "weights.safetensors" in server.said("stored bundle is corrupt, fetching it again")[0]["error"]
    assert exchange(server.connect(), "POST", INFER, BODY)[2] == body


def test_what_the_registry_has_must_be_what_is_wanted(
    site: Site, start: Start, mlflow_url: str, tmp_path: Path
) -> None:
    digest, other = write(tmp_path / "b"), write(tmp_path / "other", seed=2)
    mistagged = register(mlflow_url, "ctr", tmp_path / "b", digest, runs_uri=True)
    lying = register(mlflow_url, "ctr", tmp_path / "b", other, runs_uri=True)
    for version, wanted, reason, says in (
        (mistagged, other, "DigestMismatch", "viridian.digest"),
        (lying, other, "DigestMismatch", "manifest.json"),
        ("9999", digest, "VersionMissing", "9999"),
    ):
        site.want(wanted, version=version)
        assert start(MLFLOW_TRACKING_URI=mlflow_url).wait() == 65
        assert site.last_words()["reason"] == reason
        assert says in site.last_words()["message"]
    assert list(site.store.iterdir()) == []
