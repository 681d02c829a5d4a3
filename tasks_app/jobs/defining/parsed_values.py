"""What a parser made of a value, back in JSON: a date is its text again, a flag's constant its flag.

Owns telling, from the values that a command received, which of them somebody gave. It promises
JSON for anything; that the parser reads it back as the same value is promised for what argparse
itself makes, and tried for what a command's own types make.
"""

import json
import math
from argparse import OPTIONAL, Action, ArgumentParser, _ExtendAction
from collections.abc import Iterator
from datetime import date, time
from enum import Enum
from typing import Any

from tasks_app.jobs.defining.argument_options import Kind, Option


def is_given(parser: ArgumentParser, option: Option, value: object) -> bool:
    """Whether the value is another one than leaving the option out gives."""
    if value is None or value == option.default:
        return False
    default = option.default
    if not isinstance(default, str) or not option.taker:
        return True
    return not _parses_to(parser, option.taker, default, value)


def to_json(parser: ArgumentParser, option: Option, value: Any) -> Any:
    match option.kind, value:
        case Kind.COUNT, int():
            return _counted(option, value)
        case Kind.LIST, list():
            return [_one(parser, option, element) for element in _added(option, value)]
        case _:
            return _one(parser, option, value)


def _counted(option: Option, value: int) -> int:
    """Without the default, from which the flags count on; fewer than that no flag can say."""
    start = option.default if isinstance(option.default, int) else 0
    return value - start if value > start else value


def _added(option: Option, value: list[Any]) -> list[Any]:
    """Without the default, to which append and extend add."""
    start = list(option.default or ())
    return value[len(start) :] if value[: len(start)] == start else value


def _one(parser: ArgumentParser, option: Option, value: Any) -> Any:
    for flag in option.flags:
        if _is_same(value, flag.stores):
            return flag.token
    taker = option.taker
    if taker is None:
        return bool(value) if option.is_switch or option.is_lone_flag else str(value)
    if taker.nargs == OPTIONAL and taker.option_strings and _is_same(value, taker.const):
        return True
    if _takes_lists(taker) and isinstance(value, list | tuple):
        return [scalar(parser, taker, element) for element in value]
    return scalar(parser, taker, value)


def _takes_lists(taker: Action) -> bool:
    return taker.nargs not in {None, OPTIONAL} and not isinstance(taker, _ExtendAction)


def _is_same(value: object, other: object) -> bool:
    return value is other or (type(value) is type(other) and value == other)


def scalar(parser: ArgumentParser, taker: Action, value: Any) -> Any:
    """A number or a text; of several texts the first that the parser reads as this value."""
    if _is_json_scalar(value):
        return value
    texts = list(_texts(value))
    back = (text for text in texts if _parses_to(parser, taker, text, value))
    return next(back, texts[0]) if len(texts) > 1 else texts[0]


def _is_json_scalar(value: object) -> bool:
    if isinstance(value, bool | Enum):
        return False
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case Enum():
            yield from (str(value.value), value.name, str(value))
        case bool():
            yield from (str(value), str(value).lower(), str(int(value)))
        case date() | time():
            yield from (value.isoformat(), str(value))
        case list() | tuple():
            yield from (",".join(map(str, value)), _dumped(value))
        case dict():
            yield from (_dumped(value), str(value))
        case _:
            yield str(value)


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _parses_to(parser: ArgumentParser, taker: Action, text: str, value: object) -> bool:
    try:
        return bool(parser._get_value(taker, text) == value)
    except Exception:  # noqa: BLE001 - a command's own type may raise anything
        return False
