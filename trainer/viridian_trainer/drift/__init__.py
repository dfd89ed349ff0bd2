"""Beside what serves: its loss on new events, and when that rises."""
