"""JSON that somebody typed: only what can be stored, sent and shown is taken. Pure."""

import json
from typing import Any

DEEPEST = 50
"""How many levels a value may have. Much deeper ones end a process that copies or prints them."""


def read(text: str) -> Any:
    """The value. Raises ValueError, which says what is wrong."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if _depth(value) > DEEPEST:
        raise ValueError(_TOO_DEEP)
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half of a character (a lone surrogate)") from error
    except ValueError as error:
        raise ValueError("it holds a number that is too large") from error
    return value


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _depth(value: Any) -> int:
    """The number of levels, without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [part for each in level for part in (each.values() if isinstance(each, dict) else each)]
    return depth
