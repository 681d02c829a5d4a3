"""What a parser offers: its options by ``dest``, and the JSON value that stands for each flag.

Owns which options a job has (never those of ``manage.py`` itself) and which of argparse's actions
belong together.
"""

import math
from argparse import (
    SUPPRESS,
    Action,
    ArgumentParser,
    BooleanOptionalAction,
    _AppendAction,
    _AppendConstAction,
    _CountAction,
    _HelpAction,
    _SubParsersAction,
    _VersionAction,
)
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

BASE_OPTIONS = frozenset(
    {
        "allow_overlap",
        "force_color",
        "help",
        "no_color",
        "pythonpath",
        "settings",
        "skip_checks",
        "stderr",
        "stdout",
        "traceback",
        "version",
        "wait_for_overlap",
    }
)
"""Options that belong to ``manage.py`` and its caller, never to a job."""


class Kind(Enum):
    """What several mentions of one option in a line make together."""

    LAST = auto()
    """The last one counts: store, flags, and what is unknown."""
    LIST = auto()
    """Each one adds to a list: append, extend."""
    COUNT = auto()
    """They are counted."""
    COMMAND = auto()
    """A sub-command, which reads the rest of the line."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An option string that takes no value."""

    action: Action
    string: str
    stores: Any
    token: Any
    """The JSON value that stands for it."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """The actions of one parser that share a ``dest``, and with it one value."""

    dest: str
    actions: tuple[Action, ...]
    default: Any

    @property
    def kind(self) -> Kind:
        return _kind(self.actions[0])

    @property
    def taker(self) -> Action | None:
        """The action that takes a value, if there is one."""
        return next((action for action in self.actions if action.nargs != 0), None)

    @property
    def flags(self) -> list[Flag]:
        """The flags, those with a long name first."""
        return [
            _flag(self, action, string)
            for action in self.actions
            if action.nargs == 0
            for string in sorted(action.option_strings, key=is_short)
        ]

    @property
    def is_lone_flag(self) -> bool:
        return self.kind is Kind.LAST and len(self.actions) == 1 and self.taker is None

    @property
    def is_switch(self) -> bool:
        """Whether one of the flags stores true or false."""
        return any(
            isinstance(action, BooleanOptionalAction) or isinstance(action.const, bool)
            for action in self.actions
            if action.nargs == 0
        )


def options_of(parser: ArgumentParser) -> Mapping[str, Option]:
    """The parser's options by ``dest``, in its order, verbosity last, without the base options."""
    sharing: dict[str, list[Action]] = {}
    for action in parser._actions:
        if not _is_no_option(action):
            sharing.setdefault(action.dest, []).append(action)
    ordered = sorted(sharing, key="verbosity".__eq__)
    return MappingProxyType({dest: _option(parser, dest, sharing[dest]) for dest in ordered})


def is_short(flag: str) -> bool:
    return flag[:1] != flag[1:2]


def _is_no_option(action: Action) -> bool:
    is_report = isinstance(action, _HelpAction | _VersionAction)
    return is_report or action.dest in {SUPPRESS, *BASE_OPTIONS}


def _option(parser: ArgumentParser, dest: str, actions: Sequence[Action]) -> Option:
    """Only actions of the first one's kind: a count and a list have no common value."""
    alike = tuple(action for action in actions if _kind(action) is _kind(actions[0]))
    defaults = [action.default for action in actions if action.default is not SUPPRESS]
    default = defaults[0] if defaults else parser._defaults.get(dest)
    return Option(dest=dest, actions=alike, default=default)


def _kind(action: Action) -> Kind:
    match action:
        case _CountAction():
            return Kind.COUNT
        case _AppendAction() | _AppendConstAction():
            return Kind.LIST
        case _SubParsersAction():
            return Kind.COMMAND
        case _:
            return Kind.LAST


def _flag(option: Option, action: Action, string: str) -> Flag:
    is_pair = isinstance(action, BooleanOptionalAction)
    stores = not string.startswith("--no-") if is_pair else action.const
    token = stores.value if isinstance(stores, Enum) else stores
    if not _is_scalar(token):
        token = True if option.is_lone_flag else string.lstrip("-")
    return Flag(action=action, string=string, stores=stores, token=token)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
