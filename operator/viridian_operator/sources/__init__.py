"""Heads of event logs."""
