"""Runs and versions in MLflow, through the client of ``mlflow-skinny``."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from viridian_trainer.environment import Update, VersionRef
from viridian_trainer.errors import BadConfig, GateInputMissing, RegistryUnreachable
from viridian_trainer.registry import UPDATE, Registered, Run, VersionMissing
from viridian_trainer.result import without_credentials

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

# Imported after its settings; without pandas and the rest of the full distribution.
from mlflow import MlflowClient  # noqa: E402
from mlflow.artifacts import download_artifacts  # noqa: E402
from mlflow.entities import RunInfo  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from requests import RequestException  # noqa: E402

RESULT_FILE = "result.json"
_log = logging.getLogger(__name__)
_MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})
_REFUSED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_PARAMETER_VALUE", "BAD_REQUEST"})


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turn the errors of MLflow into those of the contract."""
    try:
        yield
    except (MlflowException, RequestException, OSError) as error:
        code, text = getattr(error, "error_code", ""), without_credentials(str(error))[:300]
        status = getattr(getattr(error, "response", None), "status_code", None)
        if code in _MISSING or status == 404:
            raise VersionMissing(text) from error
        if code in _REFUSED or status in (400, 401, 403):
            raise BadConfig(f"MLflow at {without_credentials(uri)} refuses the request: {text}") from error
        raise RegistryUnreachable(f"MLflow at {without_credentials(uri)} does not answer: {text}") from error


class MlflowRun:
    """``Run`` in MLflow."""

    def __init__(self, client: MlflowClient, uri: str, info: RunInfo) -> None:
        self._client, self._uri, self._run_id = client, uri, str(info.run_id)
        self._experiment, self.artifacts = str(info.experiment_id), str(info.artifact_uri)

    @property
    def run_id(self) -> str:
        """See ``Run``."""
        return self._run_id

    @property
    def experiment(self) -> str:
        """See ``Run``."""
        return self._experiment

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """See ``Run``."""
        try:
            for name, value in values.items():
                self._client.log_metric(self._run_id, name, value, step=step)
        except (MlflowException, RequestException) as error:
            _log.warning("cannot record metrics: %s", without_credentials(str(error)))

    def file(self, path: Path, folder: str | None = None) -> None:
        """See ``Run``."""
        with _answering(self._uri):
            self._client.log_artifact(self._run_id, str(path), folder)

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """See ``Run``."""
        try:
            self._client.set_terminated(self._run_id, status)
        except (MlflowException, RequestException) as error:
            _log.warning("cannot close run %s: %s", self._run_id, without_credentials(str(error)))


class MlflowRegistry:
    """``Registry`` in MLflow; credentials come from the standard environment variables of its client."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def start(self, update: Update, task: str, params: Mapping[str, Any]) -> MlflowRun:
        """See ``Registry``; one experiment per ModelUpdate, one run per attempt."""
        with _answering(self._uri):
            experiment = self._experiment(f"viridian/{update.namespace}/{update.name}")
            run = self._client.create_run(
                experiment,
                run_name=f"{update.name}-{update.number}-{task.lower()}-{update.attempt}",
                tags={UPDATE: update.tag, "viridian.task": task, "viridian.attempt": str(update.attempt)},
            )
            for name, value in params.items():
                text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
                self._client.log_param(run.info.run_id, name, text[:6000])
        return MlflowRun(self._client, self._uri, run.info)

    def newest(self, model: str) -> Registered | None:
        """See ``Registry``."""
        with _answering(self._uri):
            found = self._client.search_model_versions(f"name='{_quoted(model)}'")
            return self._registered(max(found, key=lambda version: int(version.version))) if found else None

    def version(self, model: str, number: str) -> Registered:
        """See ``Registry``."""
        with _answering(self._uri):
            return self._registered(self._client.get_model_version(model, number))

    def find(self, model: str, update: Update) -> Registered | None:
        """See ``Registry``."""
        with _answering(self._uri):
            found = self._versions(model, update.tag)
            return self._registered(found[0]) if found else None

    def register(
        self, run: Run, model: str, bundle: Path, tags: Mapping[str, str], result: Mapping[str, Any]
    ) -> Registered:
        """See ``Registry``.

        The result is stored before the version exists, so that whoever finds the version finds the result.
        If another attempt was faster, the first version stands and ours is deleted.
        """
        if not isinstance(run, MlflowRun):
            raise TypeError("the run of another registry")
        with _answering(self._uri):
            self._client.log_artifacts(run.run_id, str(bundle), "bundle")
            self._client.log_dict(run.run_id, dict(result), RESULT_FILE)
            self._create_model(model)
            ours = self._client.create_model_version(
                model, f"{run.artifacts}/bundle", run.run_id, tags=dict(tags), await_creation_for=60
            )
            first = self._versions(model, tags[UPDATE])[0]
            if first.version != ours.version:
                self._client.delete_model_version(model, ours.version)
            return self._registered(first)

    def artifact(self, run_id: str, path: str, folder: Path) -> Path:
        """See ``Registry``."""
        with _answering(self._uri):
            return Path(
                download_artifacts(run_id=run_id, artifact_path=path, dst_path=str(folder), tracking_uri=self._uri)
            )

    def fetch(self, model: str, version: VersionRef, folder: Path) -> Path:
        """See ``Registry``."""
        with _answering(self._uri):
            source = self._client.get_model_version_download_uri(model, version.version)
            return Path(download_artifacts(artifact_uri=source, dst_path=str(folder), tracking_uri=self._uri))

    def _experiment(self, name: str) -> str:
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException as error:
            found = self._client.get_experiment_by_name(name)  # somebody else was faster
            if found is None:
                raise error
            return str(found.experiment_id)

    def _create_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _versions(self, model: str, update_tag: str) -> list[Any]:
        """Versions with the tag of the update, oldest first."""
        query = f"name='{_quoted(model)}' and tags.`{UPDATE}`='{_quoted(update_tag)}'"
        found = self._client.search_model_versions(query)
        return sorted(found, key=lambda version: int(version.version))

    def _registered(self, version: Any) -> Registered:
        with tempfile.TemporaryDirectory() as folder:
            path = self._client.download_artifacts(version.run_id, RESULT_FILE, folder)
            result = json.loads(Path(path).read_text())
        return Registered(str(version.version), version.run_id, dict(version.tags), result)


def download_run(uri: str, run: str, path: str, folder: Path) -> Path:
    """Artifacts of a run below ``path``, downloaded into ``folder``.

    Raises
    ------
    GateInputMissing
        If there are none.
    """
    try:
        with _answering(uri):
            return Path(download_artifacts(run_id=run, artifact_path=path, dst_path=str(folder), tracking_uri=uri))
    except VersionMissing as error:
        raise GateInputMissing(f"run {run} has no {path}: {error}") from None


def _quoted(text: str) -> str:
    """``text`` inside the single quotes of a filter; neither models nor updates have names with quotes."""
    return text.replace("'", "")
