"""Training: one pass over a window, from a parent or from nothing, with checkpoints."""

from viridian_trainer.training.train import Trained, train

__all__ = ["Trained", "train"]
