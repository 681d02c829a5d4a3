"""Whole numbers in what a browser sends: an address or a form may say anything where one is wanted."""

MOST_DIGITS = 9
"""What is longer is no number of anything here, and may be more than Python or a database reads."""


def number_in(text: str) -> int | None:
    """The number that the text is, of at least 0; None where it is none."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return int(text) if is_number else None
