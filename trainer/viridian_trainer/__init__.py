"""Training image of Viridian: event logs and windows, training, registration and the evaluation gate."""

__version__ = "0.1.0"
