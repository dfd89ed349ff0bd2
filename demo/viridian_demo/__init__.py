"""Demonstration of Viridian: traffic, events and the scenes that use them."""
