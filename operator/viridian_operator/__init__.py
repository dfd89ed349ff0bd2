"""The control plane of Viridian."""

__version__ = "0.1.0"
