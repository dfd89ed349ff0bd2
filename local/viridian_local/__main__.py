"""Entry point of ``python -m viridian_local``."""

import sys

from viridian_local.cli import main

sys.exit(main())
