from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sweep", choices=["lean", "all"], default="lean", help="tests/faults: kill after a few writes, or after each"
    )
