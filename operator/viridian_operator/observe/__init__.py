"""Live reads of the cluster, the registry and the event log."""
