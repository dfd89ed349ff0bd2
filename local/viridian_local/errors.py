"""The one error that people are meant to read."""


class Problem(Exception):
    """Something the user can act upon: one sentence of what is wrong and one of what to do."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".strip())
