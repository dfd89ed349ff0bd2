from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long ones first: workers that share the tests then end at the same time."""
    items.sort(key=lambda item: "trainer" not in item.path.parts)
