"""Online training: one writer follows the event log, publishes deltas, and is stopped when it gets worse."""
