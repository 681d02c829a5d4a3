"""What is wrong with options, and which of them it is about: a form shows it beside the right field.

A parser says what is wrong as text. Which option it is about is found by the names in that text, for which
argparse itself is asked, never by its wording. A text that names no option, such as one of a command's own
``parser.error``, is about all of them.
"""

from argparse import SUPPRESS, Action, ArgumentError, ArgumentParser
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from jobledger.jobs.options.argparse_internals import ExclusiveGroup, actions_of, exclusive_groups
from jobledger.jobs.options.parser import is_required


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, and with which option."""

    text: str
    dest: str | None = None
    """The option it is about; None: all of them together."""
    group: ExclusiveGroup | None = None
    """The group it is about, of which one, or only one, may be given."""


class OptionsError(ValueError):
    """Options that a command does not accept; the text is for the operator and names the option."""

    def __init__(self, text: str, *, dest: str | None = None, problems: Sequence[Problem] = ()) -> None:
        super().__init__(text)
        self.problems = problems or (Problem(text=text, dest=dest),)


def problems_in(message: str, parser: ArgumentParser, given: Collection[Action]) -> list[Problem]:
    """What this parser's message is about; none where it names none of the parser's arguments.

    ``given`` are the actions that occur in the argument list. What is missing is a problem of each option.
    """
    return (
        _missing(message, parser, given)
        or _missing_group(message, parser, given)
        or _named_first(message, parser, given)
    )


def _missing(message: str, parser: ArgumentParser, given: Collection[Action]) -> list[Problem]:
    """A parser lists what it misses, by name and in its own order, at the end of its message.

    Behind a positional that is missing it lists also those that may be empty.
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
    """Of several names with which it may begin the longest is meant; one that it ends with is in conflict."""
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
    """As argparse's messages begin, and as those of a command's own may."""
    yield str(ArgumentError(action, ""))
    for name in (action.dest, *action.option_strings):
        yield f"{name}: "


def _name(action: Action) -> str:
    """An action's name in argparse's messages."""
    return str(ArgumentError(action, "").argument_name)
