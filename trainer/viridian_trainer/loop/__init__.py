"""The whole loop on one machine: window, training, gate, promotion, again and again over one folder."""

from viridian_trainer.loop.cycle import Loop
from viridian_trainer.loop.journal import Journal, UpdateRecord
from viridian_trainer.loop.settings import LoopSettings

__all__ = ["Journal", "Loop", "LoopSettings", "UpdateRecord"]
