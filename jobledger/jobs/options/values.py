"""The value of one option: JSON on one side, the mentions of a command line on the other.

Owns the shape that each kind of argparse action wants (a flag, a count, one value, a list, a list
that grows) and says in ``OptionsError`` which JSON would be right. Whether a value is good (its
type, the choices) is not judged here; the parser does that.
"""

import json
import math
from argparse import OPTIONAL, Action, ArgumentParser, _ExtendAction
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, time
from enum import Enum
from typing import Any

from jobledger.jobs.options.lines import Mention, OptionsError
from jobledger.jobs.options.parser import Kind, Option, is_short

MOST_FLAGS = 100
"""How often a counted flag may be given: the line is made of that many words."""


def to_mentions(option: Option, value: object) -> list[Mention]:
    """The mentions that say this JSON value; none when leaving the option out says it."""
    match option.kind:
        case Kind.COUNT:
            return _counted(option, value)
        case Kind.LIST:
            return _listed(option, value)
        case _:
            return _flagged(option, value) or _stored(option, value)


def to_value(option: Option, mentions: Sequence[Mention]) -> Any:
    """The JSON value that these mentions (at least one, all of this option) say together."""
    match option.kind:
        case Kind.COUNT:
            return len(mentions)
        case Kind.LIST:
            return [element for mention in mentions for element in _added(option, mention)]
        case _:
            _refuse_repetition(mentions)
            return _said(option, mentions[-1])


def _counted(option: Option, value: object) -> list[Mention]:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_FLAGS:
        raise _wants(option, f"a whole number from 0 to {MOST_FLAGS}", value)
    return [_mention(option.actions[0])] * value


def _flagged(option: Option, value: object) -> list[Mention]:
    for flag in option.flags:
        if isinstance(flag.token, bool) == isinstance(value, bool) and flag.token == value:
            return [Mention(action=flag.action, flag=flag.string)]
    return []


def _stored(option: Option, value: object) -> list[Mention]:
    if option.taker:
        return [_taken(option, option.taker, value)]
    if option.is_switch and isinstance(value, bool) and bool(option.default) == value:
        return []
    if option.is_lone_flag and not option.is_switch and isinstance(value, bool):
        return [_mention(option.actions[0])] if value else []
    raise _wants(option, _flag_values(option), value)


def _listed(option: Option, value: object) -> list[Mention]:
    if not isinstance(value, list):
        raise _wants(option, "a list", value)
    if isinstance(option.taker, _ExtendAction):
        value = _portions(option, option.taker, value)
    return [mention for element in value for mention in _element(option, element)]


def _element(option: Option, element: object) -> list[Mention]:
    if flagged := _flagged(option, element):
        return flagged
    if option.taker:
        return [_taken(option, option.taker, element)]
    raise _wants(option, f"a list of {_flag_values(option)}", element)


def _portions(option: Option, taker: Action, value: list[Any]) -> list[Any]:
    """What each mention of ``extend`` adds: as little as possible, since ``--flag=value`` can hold
    a value that begins with a dash and a list cannot.
    """
    if taker.nargs in {None, OPTIONAL}:
        return value
    if not taker.option_strings or (taker.nargs == "*" and not value):
        return [value]
    if isinstance(taker.nargs, int) and taker.nargs > 1:
        return [value[at : at + taker.nargs] for at in range(0, len(value), taker.nargs)]
    return [element if _flagged(option, element) else [element] for element in value]


def _taken(option: Option, taker: Action, value: object) -> Mention:
    if taker.nargs == OPTIONAL and taker.option_strings and value is True:
        return _mention(taker)
    if taker.nargs in {None, OPTIONAL}:
        return _mention(taker, _word(option, value))
    if not isinstance(value, list):
        raise _wants(option, "a list of values", value)
    _check_length(option, taker, value)
    return _mention(taker, *(_word(option, element) for element in value))


def _check_length(option: Option, taker: Action, value: list[object]) -> None:
    if isinstance(taker.nargs, int) and len(value) != taker.nargs:
        raise _wants(option, f"a list of {taker.nargs} values", value)
    if taker.nargs == "+" and not value:
        raise _wants(option, "a list of at least one value", value)
    has_default = taker.default is not None and taker.default != []
    if taker.nargs == "*" and not value and not taker.option_strings and has_default:
        raise _wants(option, "a list of at least one value, or to be left out", value)


def _word(option: Option, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    raise _wants(option, "text or a number", value)


def _mention(action: Action, *words: str) -> Mention:
    flags = sorted(action.option_strings, key=is_short)
    return Mention(action=action, flag=flags[0] if flags else None, words=words)


def _flag_values(option: Option) -> str:
    tokens = [json.dumps(flag.token) for flag in option.flags]
    leaving_out = json.dumps(bool(option.default)) if option.is_switch else "false"
    implied = [leaving_out] if option.is_switch or option.is_lone_flag else []
    return " or ".join(sorted(dict.fromkeys([*tokens, *implied]), key="true".__ne__))


def _wants(option: Option, wanted: str, value: object) -> OptionsError:
    shown = json.dumps(value, ensure_ascii=False, default=repr)
    cut = shown if len(shown) <= 80 else shown[:79] + "…"
    return OptionsError(f"{option.dest}: wants {wanted}, not {cut}")


def _added(option: Option, mention: Mention) -> list[Any]:
    said = _said(option, mention)
    is_many = isinstance(mention.action, _ExtendAction) and isinstance(said, list)
    return said if is_many else [said]


def _said(option: Option, mention: Mention) -> Any:
    for flag in option.flags:
        if flag.string == mention.flag:
            return flag.token
    values = [number_or_text(mention.action, word) for word in mention.words]
    if mention.action.nargs in {None, OPTIONAL}:
        return values[0] if values else True
    return values


def number_or_text(action: Action, word: str) -> Any:
    """A number where the parser wants ``int`` or ``float`` and the word is one, otherwise the word."""
    if action.type is int or action.type is float:
        with suppress(ValueError):
            number = action.type(word)
            return number if math.isfinite(number) else word
    return word


def _refuse_repetition(mentions: Sequence[Mention]) -> None:
    """argparse's own actions keep the last value; what a command's own makes of several is its
    secret.
    """
    mention = mentions[-1]
    is_own = not type(mention.action).__module__.startswith("argparse")
    if is_own and len(mentions) > 1:
        raise OptionsError(f"{mention.flag}: can only be given once")


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
            return _without_default_count(option, value)
        case Kind.LIST, list():
            return [_one(parser, option, element) for element in _without_default_elements(option, value)]
        case _:
            return _one(parser, option, value)


def _without_default_count(option: Option, value: int) -> int:
    """Without the default, from which the flags count on; fewer than that no flag can say."""
    start = option.default if isinstance(option.default, int) else 0
    return value - start if value > start else value


def _without_default_elements(option: Option, value: list[Any]) -> list[Any]:
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
