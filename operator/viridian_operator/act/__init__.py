"""Idempotent effects of decisions."""
