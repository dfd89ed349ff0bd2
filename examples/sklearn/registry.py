"""Runs and versions in MLflow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from contract import Failure, Json, update_tag, variable
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException


class Registry:
    """The registered model that the environment names."""

    def __init__(self) -> None:
        try:
            self.model, self._uri = os.environ["VIRIDIAN_MODEL_NAME"], os.environ["MLFLOW_TRACKING_URI"]
        except KeyError as missing:
            raise Failure(64, "BadUsage", f"environment variable {missing} is missing") from None
        self._client = MlflowClient(self._uri, self._uri)

    def find(self, tag: str) -> Json | None:
        """The result of an earlier attempt that registered a version."""
        try:
            found = self._client.search_model_versions(f"name='{self.model}' and tags.`viridian.update`='{tag}'")
        except MlflowException as error:
            raise Failure(75, "RegistryUnreachable", f"MLflow does not answer: {error.error_code}") from None
        if not found:
            return None
        first = min(found, key=lambda version: int(version.version))
        path = download_artifacts(run_id=first.run_id, artifact_path="result.json", tracking_uri=self._uri)
        return {**json.loads(Path(path).read_text()), "runID": first.run_id, "version": str(first.version)}

    def fetch(self, version: Json, folder: Path) -> Path:
        """The bundle of a version."""
        folder.mkdir(parents=True)
        try:
            source = self._client.get_model_version_download_uri(self.model, version["version"])
            return Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri))
        except MlflowException as error:
            raise Failure(3, "GateInputMissing", f"version {version['version']} cannot be read: {error}") from None

    def run(self, task: str) -> str:
        """A run of this attempt."""
        update: Any = variable("VIRIDIAN_UPDATE")
        name = f"viridian/{update['namespace']}/{update['name']}"
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        tags = {"viridian.update": update_tag(), "viridian.task": task, "viridian.attempt": str(update["attempt"])}
        return str(self._client.create_run(experiment, tags=tags).info.run_id)

    def register(self, bundle: Path, tags: Json, result: Json) -> Json:
        """Store the bundle and make a version of it; its result is there before the version is."""
        run = self.run("Train")
        self._client.log_artifacts(run, str(bundle), "bundle")
        self._client.log_dict(run, result, "result.json")
        try:
            self._client.create_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(run).info.artifact_uri}/bundle"
        named = {f"viridian.{name}": value for name, value in tags.items()}
        version = self._client.create_model_version(self.model, source, run, tags=named)
        self._client.set_terminated(run)
        return {**result, "runID": run, "version": str(version.version)}
