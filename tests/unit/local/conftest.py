"""The controller of the one-machine Kubernetes is not part of the distribution; take it from the checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "local"))
