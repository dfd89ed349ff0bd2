"""Faults at every step of an update, with the invariants and a load client as oracle."""
