"""The process: kopf shell, workers, probes, metrics, logs."""
