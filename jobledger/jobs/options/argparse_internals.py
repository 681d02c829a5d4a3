"""Everything that uses argparse's private API; no other module does.

Next to each private name, a comment says what the public API lacks. A test fails when a Python release
changes any of them. Nothing depends on the wording of argparse's messages.
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
from typing import NoReturn, TypeVar
from weakref import proxy

P = TypeVar("P", bound=ArgumentParser)
T = TypeVar("T")


class Kind(Enum):
    """How repeated occurrences of an action in an argument list combine."""

    LAST = auto()
    """The last one wins: store, flags, and a command's custom actions."""
    LIST = auto()
    """Each one adds to a list: append, extend."""
    COUNT = auto()
    """They are counted."""
    SUBCOMMAND = auto()
    """There is only one, which takes the rest of the list."""
    EXIT = auto()
    """They do not: it prints something and exits, like ``--help`` and ``--version``."""


def kind_of(action: Action) -> Kind:
    """Determined by the class: no public attribute holds the argument of ``add_argument(action=…)``."""
    match action:
        case _HelpAction() | _VersionAction():
            return Kind.EXIT
        case _CountAction():
            return Kind.COUNT
        case _AppendAction() | _AppendConstAction():
            return Kind.LIST
        case _SubParsersAction():
            return Kind.SUBCOMMAND
        case _:
            return Kind.LAST


def extends(action: Action) -> bool:
    """Whether it adds each of its values to the list, instead of adding them as a nested list."""
    return isinstance(action, _ExtendAction)


def is_own_action(action: Action) -> bool:
    """Whether it is one of argparse's own, not one of a command's author."""
    return type(action).__module__ == Action.__module__


def converter_of(parser: ArgumentParser, action: Action) -> object:
    """The function that converts the action's values, also if the parser has registered a name for it."""
    # No public access to what ``ArgumentParser.register`` has registered.
    return parser._registry_get("type", action.type, action.type)  # noqa: SLF001 - see above


def actions_of(parser: ArgumentParser) -> tuple[Action, ...]:
    """The parser's arguments, in the order in which they were added."""
    return tuple(parser._actions)  # noqa: SLF001 - no public list of a parser's arguments


# Copies: ``parents=`` shares arguments, and ``copy.deepcopy`` takes as long as to make them.


def copied(parser: P) -> P:
    """One with the same arguments, which may be changed. It must have neither groups nor subcommands."""
    made, own = _alike(parser), vars(parser)
    actions = {id(each): copied_action(each) for each in own["_actions"]}
    strings = own["_option_string_actions"]
    shared: dict[str, object] = {
        "_actions": [*actions.values()],
        "_option_string_actions": {string: actions[id(each)] for string, each in strings.items()},
        "_registries": {name: dict(each) for name, each in own["_registries"].items()},
        "_defaults": dict(own["_defaults"]),
        "_has_negative_number_optionals": own["_has_negative_number_optionals"][:],
        "_mutually_exclusive_groups": [],
    }
    groups = [_copied_group(each, actions, shared) for each in own["_action_groups"]]
    positionals, optionals = groups
    vars(made).update(shared, _action_groups=groups, _positionals=positionals, _optionals=optionals)
    return made


def _copied_group(
    group: _ArgumentGroup, actions: Mapping[int, Action], shared: Mapping[str, object]
) -> _ArgumentGroup:
    made = _alike(group)
    members = [actions[id(each)] for each in _members(group)]
    vars(made).update(shared, _action_groups=[], _group_actions=members)
    for each in members:
        vars(each)["container"] = made
    return made


def copied_action(action: Action) -> Action:
    """One that may be changed, and that is in no parser yet."""
    made = _alike(action)
    made.option_strings = [*action.option_strings]
    if isinstance(action.choices, list):
        made.choices = action.choices[:]
    return made


def add_made(parser: ArgumentParser, action: Action) -> None:
    """Add an argument of another parser, of which ``add_argument`` would make and validate a new one."""
    parser._add_action(action)  # noqa: SLF001 - it takes no argument that is made already


def free_when_unused(parser: ArgumentParser) -> None:
    """Have the parser, whose arguments were all added, freed as soon as it is not used any more.

    Otherwise, it would be left to the garbage collector, because an argument refers to its group. Only adding
    arguments that replace others needs that.
    """
    for each in all_parsers(parser):
        for group in each._action_groups:  # noqa: SLF001 - see above
            for action in group._group_actions:  # noqa: SLF001 - see above
                vars(action)["container"] = proxy(group)


def _alike(thing: T) -> T:
    """As ``copy.copy`` does, but not as slowly."""
    made: T = object.__new__(type(thing))
    vars(made).update(vars(thing))
    return made


def subcommands_of(action: Action) -> Mapping[str, ArgumentParser]:
    """The parsers of an action's subcommands, by name and by alias; empty for any other action."""
    return action.choices if isinstance(action, _SubParsersAction) else {}


def subcommand_help(action: Action) -> Mapping[str, str]:
    """The help texts of subcommands, by name; those without one are left out."""
    if not isinstance(action, _SubParsersAction):
        return {}
    listed = action._choices_actions  # noqa: SLF001 - no public access to a subcommand's help
    return {each.dest: each.help for each in listed if each.help}


def all_parsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    """The parser and those of its subcommands, recursively."""
    yield parser
    for action in actions_of(parser):
        for subparser in dict.fromkeys(subcommands_of(action).values()):
            yield from all_parsers(subparser)


@dataclass(frozen=True, kw_only=True)
class ExclusiveGroup:
    """Mutually exclusive arguments."""

    actions: tuple[Action, ...]
    is_required: bool
    """Whether one of them is required."""


def exclusive_groups(parser: ArgumentParser) -> list[ExclusiveGroup]:
    return [
        ExclusiveGroup(actions=_members(group), is_required=group.required) for group in _exclusive(parser)
    ]


@dataclass(frozen=True, kw_only=True)
class ArgumentGroup:
    """Arguments that share a heading in the parser's help."""

    title: str
    description: str
    actions: tuple[Action, ...]


def argument_groups(parser: ArgumentParser) -> list[ArgumentGroup]:
    """A group without a title for all arguments that are in none, followed by the author's groups."""
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


# Text: a formatter's methods are not public, and a parser formats only its complete usage or help.


def format_usage(parser: ArgumentParser, actions: Sequence[Action], *, width: int) -> str:
    """The parser's usage as if these were its only arguments, without the "usage:" prefix."""
    formatter = _plain_formatter(parser, width=width)
    formatter.add_usage(parser.usage, actions, _exclusive(parser), prefix="")
    return formatter.format_help().strip()


def format_values(action: Action) -> str:
    """The placeholder for an option's values: ``N``, ``{a,b}``, ``[FILE ...]``."""
    formatter = HelpFormatter("")
    return formatter._format_args(action, action.dest.upper())  # noqa: SLF001 - only complete help is public


def expand_help(parser: ArgumentParser, action: Action, *, default: object) -> str:
    """The action's help with placeholders such as ``%(default)s`` filled in. Raises as ``%`` does."""
    shown = copy.copy(action)
    shown.default = default
    return HelpFormatter(parser.prog)._expand_help(shown)  # noqa: SLF001 - only complete help is public


def _plain_formatter(parser: ArgumentParser, *, width: int) -> HelpFormatter:
    """A formatter without the colours of Python 3.14; earlier versions do not accept ``color=False``."""
    formatter = parser.formatter_class(prog=parser.prog, width=width)  # type: ignore[call-arg]
    if set_color := getattr(formatter, "_set_color", None):
        set_color(False)
    return formatter


class ParserStopped(Exception):  # noqa: N818 - not a ValueError, which argparse takes for an invalid value
    """A parser would have exited; has its message."""


@contextmanager
def silenced(parser: ArgumentParser) -> Iterator[None]:
    """Make this parser and its subparsers raise ParserStopped instead of printing and exiting.

    Other parsers are not affected, and these are restored at the end.
    """
    # No public way: with ``exit_on_error=False`` a parser still prints, and still exits in some cases.
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
    raise ParserStopped(message or "the command's parser exited instead of parsing")


def _print_nothing(message: str, file: object = None) -> None:
    """Replaces the method that all of a parser's printing goes through."""
