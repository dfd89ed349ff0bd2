"""What a drift monitor wrote beside the log that it follows (``docs/reference/contracts.md``, Drift monitor)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from viridian_operator.api.status import Detection
from viridian_operator.sources.errors import Invalid


@dataclass(frozen=True)
class DriftFindings:
    """The newest detection, and why the monitor cannot tell the loss of what serves, if it cannot."""

    detection: Detection | None = None
    error: str = ""

    @property
    def number(self) -> int:
        """How many detections there were."""
        return self.detection.number if self.detection else 0


def findings_key(stream: str, key: str) -> str:
    """Where the monitor of the ModelUpdate with the uid ``key`` writes."""
    return f"{stream}:drift:{key}"


def findings(fields: Mapping[str, str]) -> DriftFindings:
    """Read the hash of a monitor; one that has not written yet has found nothing.

    Raises
    ------
    Invalid
        If it holds something else than a monitor writes.
    """
    text = fields.get("detection", "")
    try:
        found = Detection.model_validate_json(text) if text else None
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid(f"the drift monitor wrote a detection of another form: {first['loc']}: {first['msg']}") from error
    return DriftFindings(found, fields.get("error", ""))
