"""Benchmarks: apart from the tests, each with a baseline run beside it."""
