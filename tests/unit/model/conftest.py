from __future__ import annotations

from pathlib import Path

import pytest
from sample_bundle import write


@pytest.fixture
def bundle_directory(tmp_path: Path) -> Path:
    """A written bundle."""
    write(tmp_path / "bundle")
    return tmp_path / "bundle"
