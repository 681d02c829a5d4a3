"""Parses and formats JSON values. Accepts only what can be stored, sent and displayed. Pure."""

import json
from math import isfinite
from typing import Any

MAX_DEPTH = 50
"""Much deeper values crash a process that copies or prints them."""

MAX_EXCERPT = 80

_TOO_DEEP = f"it is nested more than {MAX_DEPTH} levels deep"


class NotAnObject(dict[str, Any]):
    """What is read instead of an object if something else is stored. Empty."""

    def __init__(self, stored: Any) -> None:
        super().__init__()
        self.stored = stored


class NotAList(list[Any]):
    """The same instead of a list."""

    def __init__(self, stored: Any) -> None:
        super().__init__()
        self.stored = stored


def problem_with(value: Any) -> str:
    """What is wrong with an object or a list that was read from a row; empty if nothing is."""
    match value:
        case NotAnObject():
            return f"{excerpt(value.stored)} is stored, which is not a JSON object, such as {{}}"
        case NotAList():
            return f"{excerpt(value.stored)} is stored, which is not a JSON array, such as []"
    return ""


def parse(text: str) -> Any:
    """The value. Raises ValueError with a message for the user."""
    try:
        value = json.loads(text, parse_constant=_reject)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if _depth(value) > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it contains a lone surrogate, which is not a valid character") from error
    except ValueError as error:
        raise ValueError("it contains a number that is too large") from error
    return value


def parse_options(text: str) -> dict[str, Any]:
    """Options as a JSON object. Raises ValueError with a message for the user."""
    try:
        value = parse(text)
    except ValueError as error:
        raise ValueError(f"this is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError('expected a JSON object, such as {"days": 7}')
    return value


def check_bounds(value: Any, limit_bytes: int) -> None:
    """Raises ValueError, which says so, when the value is nested too deep or its JSON is too long."""
    if _depth(value) > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    size = len(json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace"))
    if size > limit_bytes:
        raise ValueError(f"{size:,} bytes as JSON are more than the {limit_bytes:,} allowed")


def format_for_editing(value: Any) -> str:
    """On a single line, or with a line for each member if there are several."""
    is_small = not isinstance(value, dict | list) or len(value) < 2
    text = json.dumps(value, ensure_ascii=False, indent=None if is_small else 2)
    # Half of a character, which a row that came by SQL may hold, cannot be sent; JSON has an escape for it.
    return text.encode("utf-8", "backslashreplace").decode()


def format_inline(value: Any) -> str:
    """On a single line; strings without quotes."""
    return readable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def excerpt(value: Any) -> str:
    """The start of the value's JSON, for a message."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= MAX_EXCERPT else f"{text[: MAX_EXCERPT - 1]}…"


def format_for_storage(value: Any, current: str) -> str:
    """The value as text; the current text if its value is the same, to preserve its formatting."""
    try:
        is_same = bool(current) and parse(current) == value
    except ValueError:
        is_same = False
    return current if is_same else json.dumps(value, ensure_ascii=False)


def _reject(name: str) -> Any:
    raise ValueError(f"{name} is not valid JSON")


def _depth(value: Any) -> int:
    """The number of nesting levels, computed without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
    return depth


def is_finite(number: float) -> bool:
    """Whether a float can hold the number: Python's integers, and JSON's, have no limit."""
    try:
        return isfinite(number)
    except OverflowError:
        return False


def readable(text: str) -> str:
    """Replace what databases reject: NUL becomes ␀, a lone surrogate its escape sequence."""
    if text.isascii():  # the usual case, and worth a fast path: output may be a million lines long
        return text.replace("\x00", "␀")
    return text.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()


def storable(value: Any) -> Any:
    """The JSON value with readable strings, and with non-finite numbers as strings."""
    match value:
        case NotAnObject() | NotAList():
            return value
        case str():
            return readable(value)
        case float() if not isfinite(value):
            # JSON has no infinity and no NaN.
            return str(value)
        case dict():
            return {readable(key): storable(each) for key, each in value.items()}
        case list() | tuple():
            return [storable(each) for each in value]
    return value
