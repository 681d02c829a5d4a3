"""Argument types for ``add_arguments``: each converts a string, or raises ArgumentTypeError."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import date
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from jobledger import pure
from tasks_app.models import MAX_TAG_LENGTH

EARLIEST_DAY = date(1970, 1, 1)
# Leaves room for date arithmetic before the end of the calendar.
LATEST_DAY = date(2999, 12, 31)


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """A type for whole numbers from ``minimum`` to ``maximum`` (inclusive)."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not minimum <= number <= maximum:
            raise ArgumentTypeError(f"{text} is not between {minimum} and {maximum}")
        return number

    return parse


def day(text: str) -> date:
    """A calendar day in the format YYYY-MM-DD."""
    try:
        parsed = date.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.isoformat() != text:
        raise ArgumentTypeError(f"{text!r} is not a day in the format YYYY-MM-DD")
    if not EARLIEST_DAY <= parsed <= LATEST_DAY:
        raise ArgumentTypeError(f"{text} is not between {EARLIEST_DAY} and {LATEST_DAY}")
    return parsed


@pure
def user_id(text: str) -> Any:
    """A primary key of ``AUTH_USER_MODEL``, whatever its type. Does not check that the user exists."""
    try:
        return get_user_model()._meta.pk.to_python(text)
    except ValidationError as error:
        raise ArgumentTypeError(" ".join(error.messages)) from None


def tag(text: str) -> str:
    """A tag's name."""
    if "," in text:
        raise ArgumentTypeError(f"{text!r} contains a comma; separate tags with spaces")
    if not text or any(character.isspace() for character in text):
        raise ArgumentTypeError(f"{text!r} is not a tag; a tag is a single word")
    if len(text) > MAX_TAG_LENGTH:
        raise ArgumentTypeError(f"{text!r} is longer than {MAX_TAG_LENGTH} characters")
    return text
