"""Types of the ``ModelUpdate`` API, and everything that is generated from them."""
