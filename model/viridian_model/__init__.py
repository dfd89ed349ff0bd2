"""What trainer and server share: bundles, digests, Merkle trees, features and the model plug-in contract."""

__version__ = "0.1.0"
