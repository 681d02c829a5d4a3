"""What is wrong with a calendar."""


class CalendarError(ValueError):
    """A calendar that cannot be evaluated. The message is for the user who wrote it."""
