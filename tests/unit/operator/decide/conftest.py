"""Makes the simulated world importable by its name, and gives one in which a model serves."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[4]))

from simulation import World

from viridian_operator.api.status import Phase


@pytest.fixture
def first() -> World:
    """A world whose first model serves and is champion."""
    world = World()
    world.settle()
    assert world.status.update and world.status.update.phase is Phase.SUCCEEDED
    return world
