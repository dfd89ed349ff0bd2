"""The head of a chain in a store: who writes it, how readers follow it, what may be removed."""
