"""Training: one pass over a window, from a parent or from nothing, with checkpoints."""

from viridian_trainer.training.train import Trained, follow, train

__all__ = ["Trained", "follow", "train"]
