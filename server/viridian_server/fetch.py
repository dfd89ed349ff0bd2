"""``python -m viridian_server.fetch``: download one version from MLflow and end, so that MLflow's memory ends with it.

Writes nothing but the files; on failure prints ``{"reason", "message"}`` and exits as the contract says.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from viridian_server.failure import LoadFailure

_MISSING = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")


def fetch(model: str, version: str, digest: str, into: Path) -> None:
    """Check the version's tag ``viridian.digest`` and download its artifacts into the directory ``into``.

    Raises:
        LoadFailure: ``VersionMissing``, ``DigestMismatch``, ``BadConfig`` or ``RegistryUnreachable``.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient()
        found = client.get_model_version(model, version)
        tagged = found.tags.get("viridian.digest")
        if tagged != digest:
            raise LoadFailure(
                "DigestMismatch",
                f"{model} version {version} carries the tag viridian.digest={tagged}, wanted is {digest}",
            )
        uri = client.get_model_version_download_uri(model, version)
        download_artifacts(artifact_uri=uri, dst_path=str(into))
    except MlflowException as error:
        raise _translated(error, f"{model} version {version}") from error


def _translated(error: Exception, what: str) -> LoadFailure:
    code = getattr(error, "error_code", "")
    text = " ".join(str(error).split())[:500]
    if code in _MISSING:
        return LoadFailure("VersionMissing", f"{what} cannot be read from the registry: {text}")
    if code in _DENIED or "error code 401" in text or "error code 403" in text:
        return LoadFailure("BadConfig", f"the registry refuses the credentials for {what}: {text}")
    return LoadFailure("RegistryUnreachable", f"{what} could not be fetched: {text}")


def _flatten(into: Path, scratch: Path) -> None:
    """Move the files up: MLflow puts a downloaded directory below the target."""
    manifests = sorted(scratch.rglob("manifest.json"))
    if not manifests:
        raise LoadFailure("VersionMissing", "the artifacts of the version hold no manifest.json")
    for path in manifests[0].parent.iterdir():
        if path.is_file():
            path.rename(into / path.name)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="viridian_server.fetch", description=__doc__)
    for name in ("--model", "--version", "--digest"):
        parser.add_argument(name, required=True)
    parser.add_argument("--into", required=True, type=Path)
    options = parser.parse_args(arguments)
    scratch = options.into / ".download"
    try:
        scratch.mkdir()
        fetch(options.model, options.version, options.digest, scratch)
        _flatten(options.into, scratch)
        for path in sorted(scratch.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        scratch.rmdir()
    except LoadFailure as failure:
        return _report(failure)
    except Exception as error:
        return _report(LoadFailure("RegistryUnreachable", f"the fetch failed: {type(error).__name__}: {error}"))
    return 0


def _report(failure: LoadFailure) -> int:
    sys.stdout.write(json.dumps(failure.to_json()) + "\n")
    return failure.exit_code


if __name__ == "__main__":
    sys.exit(main())
