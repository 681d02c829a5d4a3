"""Which options a refusal is about: a parser's message names its arguments, people look at options.

Owns reading argparse's messages, and those of this package, back into the ``dest`` of each option that is
named. A message that names none, such as one of a command's own ``parser.error``, is about all of them.
"""

from argparse import SUPPRESS, Action, ArgumentParser, _get_action_name, _MutuallyExclusiveGroup
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

REQUIRED = "the following arguments are required: "
ONE_OF = "one of the arguments "


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What is wrong, and where."""

    text: str
    dests: tuple[str, ...] = ()
    """The options it is about; none: all of them together."""
    group: _MutuallyExclusiveGroup | None = None
    """The group of which one, and only one, is wanted."""


def of_message(parsers: Sequence[ArgumentParser], message: str) -> list[Refusal]:
    """The message as one refusal, or, where it says what is missing, as one for each option.

    ``parsers`` are the command's own and those of the sub-commands that were chosen.
    """
    if message.startswith(REQUIRED):
        return _missing(parsers, message)
    for group in _groups(parsers):
        if message == f"{ONE_OF}{_names_in(group)} is required":
            return [Refusal(text=message, group=group)]
    action = _named_first(parsers, message)
    if action is None:
        return [Refusal(text=message)]
    clash = _group_of(parsers, action) if ": not allowed with argument " in message else None
    return [Refusal(text=message, dests=(action.dest,), group=clash)]


def _missing(parsers: Sequence[ArgumentParser], message: str) -> list[Refusal]:
    names = message.removeprefix(REQUIRED).split(", ")
    actions = [action for action in _actions(parsers) if _get_action_name(action) in names]
    found = [
        Refusal(text=f"{REQUIRED}{_get_action_name(action)}", dests=(action.dest,)) for action in actions
    ]
    return found or [Refusal(text=message)]


def _named_first(parsers: Sequence[ArgumentParser], message: str) -> Action | None:
    """Of several names with which it may begin the longest is meant."""
    fitting = [
        (len(beginning), action)
        for action in _actions(parsers)
        for beginning in _beginnings(action)
        if message.startswith(beginning)
    ]
    return max(fitting, key=lambda pair: pair[0], default=(0, None))[1]


def _beginnings(action: Action) -> Iterator[str]:
    yield f"argument {_get_action_name(action)}: "
    for name in (action.dest, *action.option_strings):
        yield f"{name}: "


def _actions(parsers: Sequence[ArgumentParser]) -> Iterator[Action]:
    for parser in parsers:
        yield from parser._actions


def _groups(parsers: Sequence[ArgumentParser]) -> Iterator[_MutuallyExclusiveGroup]:
    for parser in parsers:
        yield from parser._mutually_exclusive_groups


def _group_of(parsers: Sequence[ArgumentParser], action: Action) -> _MutuallyExclusiveGroup | None:
    return next((group for group in _groups(parsers) if action in group._group_actions), None)


def _names_in(group: _MutuallyExclusiveGroup) -> str:
    named = (action for action in group._group_actions if action.help is not SUPPRESS)
    return " ".join(str(_get_action_name(action)) for action in named)
