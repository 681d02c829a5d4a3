"""What is needed of argparse beyond its public API. No other module touches what argparse keeps private.

Beside each private name stands what the public API lacks. A test fails when a Python release changes any of
it. Nothing depends on the wording of argparse's messages.
"""

import copy
from argparse import (
    Action,
    ArgumentParser,
    HelpFormatter,
    _AppendAction,
    _AppendConstAction,
    _ArgumentGroup,
    _CountAction,
    _ExtendAction,
    _HelpAction,
    _MutuallyExclusiveGroup,
    _SubParsersAction,
    _VersionAction,
)
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import NoReturn


class Kind(Enum):
    """What several occurrences of an action in an argument list make together."""

    LAST = auto()
    """The last one counts: store, flags, and a command's own actions."""
    LIST = auto()
    """Each one adds to a list: append, extend."""
    COUNT = auto()
    """They are counted."""
    SUBCOMMAND = auto()
    """There is but one, which takes the rest of the list."""
    REPORT = auto()
    """None: it prints something and exits, as ``--help`` and ``--version`` do."""


def kind_of(action: Action) -> Kind:
    """Known by its class alone: no public attribute holds what ``add_argument(action=…)`` was given."""
    match action:
        case _HelpAction() | _VersionAction():
            return Kind.REPORT
        case _CountAction():
            return Kind.COUNT
        case _AppendAction() | _AppendConstAction():
            return Kind.LIST
        case _SubParsersAction():
            return Kind.SUBCOMMAND
        case _:
            return Kind.LAST


def extends(action: Action) -> bool:
    """Whether it adds each of its values to a list, instead of the list of them."""
    return isinstance(action, _ExtendAction)


def actions_of(parser: ArgumentParser) -> tuple[Action, ...]:
    """The parser's arguments, in the order in which they were added."""
    return tuple(parser._actions)  # noqa: SLF001 - no public list of a parser's arguments


def subcommands_of(action: Action) -> Mapping[str, ArgumentParser]:
    """The parsers of an action's sub-commands, by name and by alias; none for any other action."""
    return action.choices if isinstance(action, _SubParsersAction) else {}


def subcommand_help(action: Action) -> Mapping[str, str]:
    """The help of sub-commands, by name; those without help are left out."""
    if not isinstance(action, _SubParsersAction):
        return {}
    listed = action._choices_actions  # noqa: SLF001 - no public way to a sub-command's help
    return {each.dest: each.help for each in listed if each.help}


def all_parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """The parser and those of its sub-commands, at every depth."""
    yield parser
    for action in actions_of(parser):
        for subparser in dict.fromkeys(subcommands_of(action).values()):
            yield from all_parsers(subparser)


@dataclass(frozen=True, kw_only=True)
class ExclusiveGroup:
    """Arguments of which at most one may be given."""

    actions: tuple[Action, ...]
    is_required: bool
    """Whether one must be given."""


def exclusive_groups(parser: ArgumentParser) -> list[ExclusiveGroup]:
    return [
        ExclusiveGroup(actions=_members(group), is_required=group.required) for group in _exclusive(parser)
    ]


@dataclass(frozen=True, kw_only=True)
class ArgumentGroup:
    """Arguments under a heading of the parser's help."""

    title: str
    description: str
    actions: tuple[Action, ...]


def argument_groups(parser: ArgumentParser) -> list[ArgumentGroup]:
    """The author's groups; before them, without a title, the arguments that are in none."""
    positionals, optionals, *own = parser._action_groups  # noqa: SLF001 - no public list of groups
    ungrouped = _members(positionals) + _members(optionals)
    return [
        ArgumentGroup(title="", description="", actions=ungrouped),
        *(
            ArgumentGroup(
                title=group.title or "", description=group.description or "", actions=_members(group)
            )
            for group in own
        ),
    ]


def _exclusive(parser: ArgumentParser) -> list[_MutuallyExclusiveGroup]:
    return parser._mutually_exclusive_groups  # noqa: SLF001 - no public list of exclusive groups


def _members(group: _ArgumentGroup) -> tuple[Action, ...]:
    return tuple(group._group_actions)  # noqa: SLF001 - no public list of a group's arguments


# Text: a formatter's methods are not public, and a parser formats only its whole usage or its whole help.


def format_usage(parser: ArgumentParser, actions: Sequence[Action], *, width: int) -> str:
    """The parser's usage as if it had only these arguments, without the word "usage"."""
    formatter = _plain_formatter(parser, width=width)
    formatter.add_usage(parser.usage, actions, _exclusive(parser), prefix="")
    return formatter.format_help().strip()


def format_values(action: Action) -> str:
    """The values after an option's name: ``N``, ``{a,b}``, ``[FILE ...]``."""
    formatter = HelpFormatter("")
    return formatter._format_args(action, action.dest.upper())  # noqa: SLF001 - only whole help is public


def expand_help(parser: ArgumentParser, action: Action, *, default: object) -> str:
    """The action's help with ``%(default)s`` and its like filled in. Raises as the ``%`` operator does."""
    shown = copy.copy(action)
    shown.default = default
    return HelpFormatter(parser.prog)._expand_help(shown)  # noqa: SLF001 - only whole help is public


def _plain_formatter(parser: ArgumentParser, *, width: int) -> HelpFormatter:
    """Without the colours that Python 3.14 adds on a terminal; earlier ones do not take ``color=False``."""
    formatter = parser.formatter_class(prog=parser.prog, width=width)  # type: ignore[call-arg]
    if set_color := getattr(formatter, "_set_color", None):
        set_color(False)
    return formatter


class ParserStopped(Exception):  # noqa: N818 - a signal; no ValueError, which argparse takes for a wrong type
    """A parser's last word: its message, or what it printed when it ended."""


@contextmanager
def silenced(parser: ArgumentParser) -> Iterator[None]:
    """Let this parser and its sub-commands' raise ParserStopped where they would print and exit.

    Other parsers are untouched, and these are left as they were found.
    """
    # No public way: ``exit_on_error=False`` does not keep a parser from printing, nor from every exit.
    replaced = {"error": _stop, "exit": _stop_at_exit, "_print_message": _print_nothing}
    kept = [(vars(each), dict(vars(each))) for each in all_parsers(parser)]
    for attributes, _ in kept:
        attributes.update(replaced)
    try:
        yield
    finally:
        for attributes, before in kept:
            for name in replaced:
                attributes.pop(name)
            attributes.update({name: before[name] for name in replaced if name in before})


def _stop(message: str) -> NoReturn:
    raise ParserStopped(message)


def _stop_at_exit(status: int = 0, message: str | None = None) -> NoReturn:
    raise ParserStopped(message or "the command's parser ended instead of parsing")


def _print_nothing(message: str, file: object = None) -> None:
    """Take the place of a parser's only way to print."""
