"""Pure decisions: what is, and what should be next. No clock, no input, no output."""
