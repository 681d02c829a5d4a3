"""Converts the value of an option between JSON and its occurrences in an argument list.

Determines the JSON shape for each kind of argparse action (a flag, a count, a value, a list, a list that
grows). ``OptionsError`` says which shape is expected. Validating the value itself (its type, its choices) is
left to the parser.
"""

import json
from argparse import OPTIONAL, REMAINDER, ZERO_OR_MORE, Action
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, time
from enum import Enum
from io import IOBase
from typing import Any

from jobledger.jobs.json_text import excerpt, is_finite, parse
from jobledger.jobs.options.argparse_internals import Kind, extends, is_own_action
from jobledger.jobs.options.argument_list import Occurrence
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.parser import Option, is_short
from jobledger.jobs.options.purity import is_pure, pure

MAX_COUNT = 100
"""The maximum value of a counted flag, which is repeated in the argument list."""


@pure
def json_or_text(word: str) -> Any:
    """The ``type`` of an option that takes any JSON value. What is not JSON is text, and needs no quotes."""
    try:
        return parse(word)
    except ValueError:
        return word


def json_or_text_word(value: Any) -> str:
    """What ``json_or_text`` reads as this value, without quotes if possible."""
    is_text = isinstance(value, str) and json_or_text(value) == value
    return str(value) if is_text else json.dumps(value, ensure_ascii=False)


# From JSON to an argument list


def to_occurrences(option: Option, value: object) -> list[Occurrence]:
    """The occurrences for this JSON value; empty if leaving the option out has the same effect."""
    match option.kind:
        case Kind.COUNT:
            return _counted(option, value)
        case Kind.LIST:
            return _elements(option, value)
        case _:
            return _flag_for(option, value) or _repeated(option, value) or _single(option, value)


def _counted(option: Option, value: object) -> list[Occurrence]:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise _expected(option, f"a whole number from 0 to {MAX_COUNT}", value)
    return [_occurrence(option.actions[0])] * value


def _flag_for(option: Option, value: object) -> list[Occurrence]:
    for flag in option.flags:
        if isinstance(flag.value, bool) == isinstance(value, bool) and flag.value == value:
            return [Occurrence(action=flag.action, flag=flag.string)]
    return []


def _repeated(option: Option, value: object) -> list[Occurrence]:
    """The occurrences of an author's action that is given several times; empty if it is given once."""
    if not isinstance(value, list) or is_own_action(option.actions[0]):
        return []
    taker = option.taker
    is_group = taker is not None and taker.nargs not in {None, OPTIONAL}
    if is_group and not all(isinstance(each, list) for each in value):
        return []
    return [occurrence for each in value for occurrence in _flag_for(option, each) or _single(option, each)]


def _single(option: Option, value: object) -> list[Occurrence]:
    if option.taker:
        return [_taken(option, option.taker, value)]
    if option.is_switch and isinstance(value, bool) and bool(option.default) == value:
        return []
    if option.is_lone_flag and not option.is_switch and isinstance(value, bool):
        return [_occurrence(option.actions[0])] if value else []
    raise _expected(option, _flag_values(option), value)


def _elements(option: Option, value: object) -> list[Occurrence]:
    if not isinstance(value, list):
        raise _expected(option, "a list", value)
    if option.taker and extends(option.taker):
        value = _portions(option, option.taker, value)
    return [occurrence for element in value for occurrence in _element(option, element)]


def _element(option: Option, element: object) -> list[Occurrence]:
    if flag := _flag_for(option, element):
        return flag
    if option.taker:
        return [_taken(option, option.taker, element)]
    raise _expected(option, f"a list of {_flag_values(option)}", element)


def _portions(option: Option, taker: Action, value: list[Any]) -> list[Any]:
    """Split the value between occurrences of ``extend``, each as short as possible.

    ``--flag=value`` allows a value that begins with a dash, which a list of several values does not.
    """
    if taker.nargs in {None, OPTIONAL}:
        return value
    if not taker.option_strings or (taker.nargs == "*" and not value):
        return [value]
    if isinstance(taker.nargs, int) and taker.nargs > 1:
        return [value[at : at + taker.nargs] for at in range(0, len(value), taker.nargs)]
    return [element if _flag_for(option, element) else [element] for element in value]


def _taken(option: Option, taker: Action, value: object) -> Occurrence:
    if taker.nargs == OPTIONAL and taker.option_strings and value is True:
        return _occurrence(taker)
    if taker.nargs in {None, OPTIONAL}:
        return _occurrence(taker, _word(option, value))
    if not isinstance(value, list):
        raise _expected(option, "a list of values", value)
    _check_length(option, taker, value)
    return _occurrence(taker, *(_word(option, element) for element in value))


def _check_length(option: Option, taker: Action, value: list[object]) -> None:
    if isinstance(taker.nargs, int) and len(value) != taker.nargs:
        raise _expected(option, f"a list of {taker.nargs} values", value)
    if taker.nargs == "+" and not value:
        raise _expected(option, "a list of at least one value", value)
    has_default = taker.default is not None and taker.default != []
    if taker.nargs == "*" and not value and not taker.option_strings and has_default:
        raise _expected(option, "a list of at least one value (or leave it out)", value)


def _word(option: Option, value: object) -> str:
    if option.taker is not None and option.taker.type is json_or_text:
        return json_or_text_word(value)
    if option.taker is not None and option.taker.type is bool:
        return _word_of_bool(option, value)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        raise _expected(option, "a number below 1.8e308", value)
    raise _expected(option, "text or a number", value)


def _word_of_bool(option: Option, value: object) -> str:
    """The only empty text is false: a text such as "False" would be true."""
    if not isinstance(value, bool):
        raise _expected(option, "true or false", value)
    return str(value) if value else ""


def _occurrence(action: Action, *words: str) -> Occurrence:
    flags = sorted(action.option_strings, key=is_short)
    return Occurrence(action=action, flag=flags[0] if flags else None, words=words)


def _flag_values(option: Option) -> str:
    values = [flag.json for flag in option.flags]
    without = json.dumps(bool(option.default)) if option.is_switch else "false"
    implied = [without] if option.is_switch or option.is_lone_flag else []
    return " or ".join(sorted(dict.fromkeys([*values, *implied]), key="true".__ne__))


def _expected(option: Option, expected: str, value: object) -> OptionsError:
    return OptionsError(f"{option.dest}: expected {expected}, not {excerpt(value)}", dest=option.dest)


# From an argument list to JSON


def to_value(option: Option, occurrences: Sequence[Occurrence]) -> Any:
    """The JSON value for these occurrences of the option, of which there is at least one."""
    match option.kind:
        case Kind.COUNT:
            return len(occurrences)
        case Kind.LIST:
            return [element for occurrence in occurrences for element in _added(option, occurrence)]
        case _:
            if is_own_action(occurrences[-1].action) or len(occurrences) == 1:
                return _value_of(option, occurrences[-1])
            # What an author's action does with each of them is unknown.
            return [_value_of(option, occurrence) for occurrence in occurrences]


def _added(option: Option, occurrence: Occurrence) -> list[Any]:
    value = _value_of(option, occurrence)
    is_many = extends(occurrence.action) and isinstance(value, list)
    return value if is_many else [value]


def _value_of(option: Option, occurrence: Occurrence) -> Any:
    for flag in option.flags:
        if flag.string == occurrence.flag:
            return flag.value
    values = [number_or_text(occurrence.action, word) for word in occurrence.words]
    if occurrence.action.nargs in {None, OPTIONAL}:
        return values[0] if values else True
    return values


def number_or_text(action: Action, word: str) -> Any:
    """A number or boolean if the parser expects one and the word is one, otherwise the word.

    Any JSON value if the parser expects that.
    """
    if action.type is json_or_text:
        return json_or_text(word)
    if action.type is bool:
        return bool(word)
    if action.type is int or action.type is float:
        with suppress(ValueError):
            number = action.type(word)
            return number if is_finite(number) else word
    return word


# From what a command received to JSON


def differs_from_default(option: Option, value: object) -> bool:
    """Whether leaving the option out would result in a different value."""
    if value is None or value == option.default or _is_empty_positional(option, value):
        return False
    default = option.default
    if not isinstance(default, str) or not option.taker:
        return True
    return not _converts_to(option.taker, default, value)


def _is_empty_positional(option: Option, value: object) -> bool:
    """Without words, argparse still gives a positional that takes any number of them a list."""
    taker = option.taker
    takes_any = taker is not None and taker.nargs in {ZERO_OR_MORE, REMAINDER} and not taker.option_strings
    return takes_any and value == []


def to_json(option: Option, value: Any) -> Any:
    match option.kind, value:
        case Kind.COUNT, int():
            return _without_default_count(option, value)
        case Kind.LIST, list():
            return [_single_to_json(option, element) for element in _without_default(option, value)]
        case _:
            return _single_to_json(option, value)


def _without_default_count(option: Option, value: int) -> int:
    """Subtract the default, which the flags add to; a lower value cannot come from flags."""
    start = option.default if isinstance(option.default, int) else 0
    return value - start if value > start else value


def _without_default(option: Option, value: list[Any]) -> list[Any]:
    """Strip the default, which append and extend add to."""
    start = list(option.default or ())
    return value[len(start) :] if value[: len(start)] == start else value


def _single_to_json(option: Option, value: Any) -> Any:
    for flag in option.flags:
        if _is_same(value, flag.stores):
            return flag.value
    taker = option.taker
    if taker is None:
        return bool(value) if option.is_switch or option.is_lone_flag else str(value)
    if taker.nargs == OPTIONAL and taker.option_strings and _is_same(value, taker.const):
        return True
    takes_lists = taker.nargs not in {None, OPTIONAL} and not extends(taker)
    if takes_lists and isinstance(value, list | tuple):
        return [scalar(taker, element) for element in value]
    return scalar(taker, value)


def _is_same(value: object, other: object) -> bool:
    return value is other or (type(value) is type(other) and value == other)


def scalar(taker: Action, value: Any) -> Any:
    """A number or a string: the first candidate string that the action's type converts to this value."""
    if _is_json_scalar(value) or (taker.type is bool and isinstance(value, bool)):
        return value
    texts = list(_texts(value))
    converted = (text for text in texts if _converts_to(taker, text, value))
    return next(converted, texts[0]) if len(texts) > 1 else texts[0]


def _is_json_scalar(value: object) -> bool:
    if isinstance(value, bool | Enum):
        return False
    return isinstance(value, str | int) or (isinstance(value, float) and is_finite(value))


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
            yield _plain_text(value)


def _plain_text(value: object) -> str:
    """A file is named, so that it is opened again when these options are used again."""
    name = value.name if isinstance(value, IOBase) and hasattr(value, "name") else None
    if not isinstance(name, str):
        return str(value)
    return "-" if name in ("<stdin>", "<stdout>") else name


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, default=str, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)


def _converts_to(taker: Action, text: str, value: object) -> bool:
    if not is_pure(taker.type):
        return text == _plain_text(value)
    try:
        return bool((taker.type(text) if callable(taker.type) else text) == value)
    except Exception:  # noqa: BLE001 - a custom type may raise anything
        return False
