"""The head of a model in a store: who writes it, how readers follow it, what may be removed."""
