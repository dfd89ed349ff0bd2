"""Bounded model checking of the operator's decisions over the simulated world."""

import sys
from pathlib import Path

# the simulated world is shared with the unit tests
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "operator" / "decide"))
