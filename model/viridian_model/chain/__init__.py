"""Deltas: what changed between two states of a model, how it is written, applied and merged. Needs no torch."""
