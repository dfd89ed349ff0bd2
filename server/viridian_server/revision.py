"""What this pod must serve: the mounted ``revision.json`` and ``golden.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from viridian_model.store.keys import checked_part
from viridian_server.failure import LoadFailure

Text = Annotated[str, StringConstraints(min_length=1, max_length=250)]


Digest = Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")]


class Wanted(BaseModel):
    """``revision.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: Text
    version: Text
    digest: Digest
    eventTime: float | None = None
    follow: bool = False
    # A default is not checked: what is written here names something, null and "" are no way to leave it out.
    chain: Text = ""


@dataclass(frozen=True)
class Revision:
    """The wanted version, and its golden requests as JSON if the directory holds any.

    With ``follow`` the head of the store counts, and the version only until there is one. ``chain_name`` is empty for
    a chain that is named like its model.
    """

    model: str
    version: str
    digest: str
    event_time: float | None
    golden: Any | None
    follow: bool = False
    chain_name: str = ""

    @property
    def chain(self) -> str:
        """Name of the chain in the store."""
        return self.chain_name or self.model


def read_revision(directory: Path) -> Revision:
    """Read the mounted directory; both files come from the same state of the ConfigMap.

    Raises:
        LoadFailure: ``BadConfig``; names the file and the field.
    """
    while True:
        # kubelet changes all files of a ConfigMap at once, by pointing ..data at another directory.
        data = directory / "..data"
        state = data.resolve() if data.exists() else directory
        try:
            return _read(state)
        except LoadFailure:
            if state == directory or data.resolve() == state:
                raise


def _read(directory: Path) -> Revision:
    path = directory / "revision.json"
    try:
        wanted = Wanted.model_validate(_json(path))
    except ValidationError as error:
        raise LoadFailure("BadConfig", f"{path}: {first_problem(error)}") from None
    chain = _followed_chain(wanted, path) if wanted.follow else ""
    golden_path = directory / "golden.json"
    golden = _json(golden_path) if golden_path.exists() else None
    return Revision(wanted.model, wanted.version, wanted.digest, wanted.eventTime, golden, wanted.follow, chain)


def _followed_chain(wanted: Wanted, path: Path) -> str:
    try:
        return checked_part(wanted.chain or wanted.model)
    except ValueError as error:
        raise LoadFailure("BadConfig", f"{path}: chain: {error}") from None


def first_problem(error: ValidationError) -> str:
    """Return the first problem as ``field: what``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the object"
    return f"{where}: {first['msg']}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise LoadFailure("BadConfig", f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise LoadFailure("BadConfig", f"{path} is not JSON: {error}") from None
