"""Online mode: snapshots that share their rows, the chain that they come from, and the check of what is in memory."""
