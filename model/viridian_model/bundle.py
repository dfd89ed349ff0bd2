"""Write and read bundles: ``manifest.json`` and the files it names; tensors are safetensors, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from viridian_model.canonical import canonical_json, digest_of, sha256_of_file
from viridian_model.contract import ModelSpec, RankingModel
from viridian_model.errors import BadBundle, BundleError, DigestMismatch
from viridian_model.inference import Golden, check_golden
from viridian_model.manifest import FileEntry, Manifest, Provenance, merkle_root_of, tables_of
from viridian_model.storage import partial_directory, publish

MANIFEST = "manifest.json"
MODEL = "model.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
GOLDEN = "golden.json"
FILES = (MODEL, WEIGHTS, OPTIMIZER, GOLDEN)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Weights and optimizer state stay on disk until they are asked for."""

    directory: Path
    digest: str
    manifest: Manifest
    spec: ModelSpec
    golden: Golden

    def weights(self) -> dict[str, Tensor]:
        """Read the tensors of the model, on the CPU."""
        return _load(self.directory / WEIGHTS)

    def optimizer(self) -> dict[str, Tensor]:
        """Read the tensors that the trainer kept beside the weights."""
        return _load(self.directory / OPTIMIZER)

    def load_model(self) -> RankingModel:
        """Build the model with these weights, in evaluation mode.

        Raises:
            BadBundle: architecture, config, weights and Merkle root do not fit together.
        """
        model = self.spec.build()
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            raise BadBundle(f"{WEIGHTS} does not fit {MODEL}: {error}") from error
        if merkle_root_of(model, tables_of(model)) != self.manifest.merkle_root:
            raise BadBundle(f"the tensors of {WEIGHTS} do not have the Merkle root of {MANIFEST}")
        return model.eval()


def finish(model: RankingModel) -> RankingModel:
    """Bring a trained model into the state that is exported: out-of-vocabulary rows set, evaluation mode."""
    for table in model.embedding_tables().values():
        table.refresh_oov()
    return model.eval()


def write_bundle(
    directory: Path,
    *,
    provenance: Provenance,
    spec: ModelSpec,
    model: RankingModel,
    optimizer: Mapping[str, Tensor],
    golden: Golden,
) -> str:
    """Write a bundle and return its digest. Equal arguments give equal bytes; ``model`` must be `finish`-ed.

    Everything is written under a hidden name beside ``directory``, the manifest last, flushed, then renamed.
    A bundle with the same digest that stands there already is left as it is.

    Raises:
        FileExistsError: ``directory`` holds something else.
        WarmupFailed: ``model`` does not give the golden answers.
    """
    check_golden(model, golden)
    with partial_directory(directory) as partial:
        _save(model.state_dict(), partial / WEIGHTS)
        _save(optimizer, partial / OPTIMIZER)
        (partial / MODEL).write_bytes(canonical_json(spec.to_json()))
        (partial / GOLDEN).write_bytes(canonical_json(golden.to_json()))
        tables = tables_of(model)
        manifest = Manifest(
            **provenance.model_dump(),
            files={name: _entry(partial / name) for name in FILES},
            tables=tables,
            merkle_root=merkle_root_of(model, tables),
            signature=model.signature(),
        )
        (partial / MANIFEST).write_bytes(manifest.canonical())
        digest = manifest.digest
        if not publish(partial, directory) and not _holds(directory, digest):
            raise FileExistsError(f"{directory} exists and does not hold the bundle {digest}")
    return digest


def verify(directory: Path, want_digest: str | None = None) -> Manifest:
    """Check the manifest against ``want_digest`` and every file against the manifest.

    Raises:
        DigestMismatch: the manifest or a file is another one; names it.
        BadBundle: a file is missing or the manifest is malformed.
    """
    obj = _json(directory, MANIFEST)
    try:
        digest = digest_of(obj)
    except ValueError as error:
        raise BadBundle(f"{MANIFEST} cannot be digested: {error}") from None
    if want_digest is not None and digest != want_digest:
        raise DigestMismatch(f"{MANIFEST} has the digest {digest}, wanted is {want_digest}")
    manifest = Manifest.from_json(obj)
    if missing := [name for name in FILES if name not in manifest.files]:
        raise BadBundle(f"{MANIFEST} does not list {', '.join(missing)}")
    for name, entry in manifest.files.items():
        _check_file(directory / name, entry)
    return manifest


def read_bundle(directory: Path, want_digest: str | None = None) -> Bundle:
    """Verify a bundle and read its small files; raises what `verify` raises."""
    manifest = verify(directory, want_digest)
    spec = ModelSpec.from_json(_json(directory, MODEL))
    golden = Golden.from_json(_json(directory, GOLDEN))
    digest = want_digest or digest_of(_json(directory, MANIFEST))
    return Bundle(directory, digest, manifest, spec, golden)


def _check_file(path: Path, entry: FileEntry) -> None:
    if path.is_symlink() or not path.is_file():
        raise BadBundle(f"{path.name} is missing")
    size = path.stat().st_size
    if size != entry.size:
        raise DigestMismatch(f"{path.name} has {size} bytes, the manifest says {entry.size}")
    sha256 = sha256_of_file(path)
    if sha256 != entry.sha256:
        raise DigestMismatch(f"{path.name} has the SHA-256 {sha256}, the manifest says {entry.sha256}")


def _holds(directory: Path, digest: str) -> bool:
    try:
        verify(directory, digest)
    except BundleError:
        return False
    return True


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_of_file(path), size=path.stat().st_size)


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}, path)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise BadBundle(f"{path.name} cannot be read: {error}") from error


def _json(directory: Path, name: str) -> Any:
    try:
        return json.loads((directory / name).read_bytes())
    except FileNotFoundError:
        raise BadBundle(f"{name} is missing") from None
    except ValueError as error:
        raise BadBundle(f"{name} is not JSON: {error}") from None
