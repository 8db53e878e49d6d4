"""What is wrong with a cron or with the name of a zone."""

from __future__ import annotations


class InvalidCron(ValueError):
    """
    A text is not a cron, or an interval cannot be written as one.

    Attributes:
        text: What was given.
        position: Where in it the mistake begins, from 0.
    """

    def __init__(self, message: str, *, text: str, position: int) -> None:
        self.text = text
        self.position = position
        super().__init__(message)


class InvalidZone(ValueError):
    """A name is not one of the tz database, or there is no such database."""
