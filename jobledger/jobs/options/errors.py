"""Errors in options, attributed to the option concerned, so that a form can display them next to its field.

A parser's error is only a text. The option is found by the names in it, as argparse itself formats them,
never by the wording. A text that names no option, such as that of a command's own ``parser.error``,
concerns all of them.
"""

from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from jobledger.jobs.options.argparse_internals import ExclusiveGroup, actions_of, exclusive_groups
from jobledger.jobs.options.parser import is_required


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An error, and the option that it concerns."""

    text: str
    dest: str | None = None
    """The option that it concerns; None: all of them."""
    group: ExclusiveGroup | None = None
    """The group that it concerns, if too few or too many of its options are given."""


class OptionsError(ValueError):
    """Options that a command does not accept. The text is for the operator and names the option."""

    def __init__(self, text: str, *, dest: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(text)
        self.problems = problems or (Problem(text=text, dest=dest),)


def problems_in(message: str, parser: ArgumentParser, given: Collection[Action]) -> list[Problem]:
    """The problems that this parser's message describes; empty if it names none of the parser's arguments.

    ``given`` are the actions that occur in the argument list. Each missing option is a problem of its own.
    """
    return (
        _missing(message, parser, given)
        or _missing_group(message, parser, given)
        or _named_first(message, parser, given)
    )


def _missing(message: str, parser: ArgumentParser, given: Collection[Action]) -> list[Problem]:
    """A parser lists missing arguments by name, in its own order, at the end of the message.

    After a missing positional, it also lists those that may be empty.
    """
    beginning, listed = message, []
    missing = [action for action in actions_of(parser) if action.required and action not in given]
    for action in reversed(missing):
        if beginning.endswith(_name(action)):
            beginning = beginning.removesuffix(_name(action)).removesuffix(", ")
            listed.append(action)
    required = [action for action in missing if is_required(action)]
    if any(action not in listed for action in required):
        return []
    return [Problem(text=beginning + _name(action), dest=action.dest) for action in required]


def _missing_group(message: str, parser: ArgumentParser, given: Collection[Action]) -> list[Problem]:
    for group in exclusive_groups(parser):
        names = " ".join(_name(action) for action in group.actions if action.help is not SUPPRESS)
        if group.is_required and names in message and not any(action in given for action in group.actions):
            return [Problem(text=message, group=group)]
    return []


def _named_first(message: str, parser: ArgumentParser, given: Collection[Action]) -> list[Problem]:
    """The longest name at the beginning is the option; one at the end is the option it conflicts with."""
    matching = [
        (len(beginning), action)
        for action in actions_of(parser)
        for beginning in _beginnings(action)
        if message.startswith(beginning)
    ]
    if not matching:
        return []
    action = max(matching, key=lambda pair: pair[0])[1]
    group = next((each for each in exclusive_groups(parser) if action in each.actions), None)
    others = [other for other in group.actions if other is not action and other in given] if group else []
    is_conflict = any(message.endswith(f" {_name(other)}") for other in others)
    return [Problem(text=message, dest=action.dest, group=group if is_conflict else None)]


def _beginnings(action: Action) -> Iterator[str]:
    """How argparse's messages about an action begin, and how a command's own may begin."""
    yield str(ArgumentError(action, ""))
    for name in (action.dest, *action.option_strings):
        yield f"{name}: "


def _name(action: Action) -> str:
    """The action's name as argparse's messages format it."""
    return str(ArgumentError(action, "").argument_name)
