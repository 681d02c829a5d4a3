"""Texts and JSON values as any of the databases keeps them."""

from math import isfinite
from typing import Any


def readable(text: str) -> str:
    """The same text without what a database refuses: NUL becomes ␀, a lone surrogate its escape."""
    if text.isascii():  # nearly all there is, and it may be a million lines
        return text.replace("\x00", "␀")
    return text.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()


def storable(value: Any) -> Any:
    """The same JSON value with readable texts and finite numbers."""
    match value:
        case str():
            return readable(value)
        case float() if not isfinite(value):
            # No JSON has it.
            return str(value)
        case dict():
            return {readable(key): storable(each) for key, each in value.items()}
        case list() | tuple():
            return [storable(each) for each in value]
    return value
