"""Reference serving runtime: Open Inference Protocol v2 for one verified bundle."""
