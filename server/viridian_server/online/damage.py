"""What a faulty memory does to a replica, on demand (see `viridian_server.faults`)."""

from __future__ import annotations

import logging
import threading

import numpy as np

from viridian_server.online.residents import ChainResidents

log = logging.getLogger(__name__)


def flip_later(residents: ChainResidents, seconds: float) -> None:
    """Flip a bit of what answers then."""
    timer = threading.Timer(seconds, flip_bit, [residents])
    timer.daemon = True
    timer.start()


def flip_bit(residents: ChainResidents) -> None:
    """Flip the lowest bit of a value in the middle of the largest table."""
    name, view = max(residents.current.weights.tables.items(), key=lambda each: each[1].rows)
    position = view.rows // 2
    row = view.arena.array[view.slots[position]].view(np.uint8).reshape(-1)
    row[0] ^= 1
    log.warning("a bit was flipped on demand", extra={"table": name, "position": position})
