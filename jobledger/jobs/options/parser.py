"""What a parser offers: its options by ``dest``, and the JSON value that stands for each flag.

Owns which options a job has (never those of ``manage.py`` itself) and which of argparse's actions
belong together.
"""

import json
import math
from argparse import (
    OPTIONAL,
    REMAINDER,
    SUPPRESS,
    ZERO_OR_MORE,
    Action,
    ArgumentParser,
    BooleanOptionalAction,
)
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from jobledger.jobs.options.argparse_internals import Kind, actions_of, kind_of, subcommands_of

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


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An option string that takes no value."""

    action: Action
    string: str
    stores: Any
    """What the command receives."""
    value: Any
    """The JSON value that stands for it."""

    @property
    def json(self) -> str:
        return json.dumps(self.value)


@dataclass(frozen=True, kw_only=True)
class Option:
    """The actions of one parser that share a ``dest``, and with it one value."""

    dest: str
    actions: tuple[Action, ...]
    default: Any

    @property
    def kind(self) -> Kind:
        return kind_of(self.actions[0])

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
    def distinct_flags(self) -> list[Flag]:
        """Of the flags with the same value the one with the longest name."""
        by_value: dict[str, Flag] = {}
        for flag in self.flags:
            by_value.setdefault(flag.json, flag)
        return list(by_value.values())

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

    @property
    def is_required(self) -> bool:
        return any(map(is_required, self.actions))

    @property
    def subcommands(self) -> Mapping[str, ArgumentParser]:
        """The parsers of its sub-commands, by name and not by alias; none for an ordinary option."""
        names: dict[ArgumentParser, str] = {}
        for name, parser in subcommands_of(self.actions[0]).items():
            names.setdefault(parser, name)
        return {name: parser for parser, name in names.items()}

    def subcommand_name(self, value: object) -> str | None:
        """The name of the sub-command that a value chooses by its name or by an alias."""
        chosen = subcommands_of(self.actions[0]).get(value) if isinstance(value, str) else None
        return next((name for name, parser in self.subcommands.items() if parser is chosen), None)


def options_of(parser: ArgumentParser) -> Mapping[str, Option]:
    """The parser's options by ``dest``, in its order, verbosity last, without the base options."""
    sharing: dict[str, list[Action]] = {}
    for action in actions_of(parser):
        if _is_option(action):
            sharing.setdefault(action.dest, []).append(action)
    ordered = sorted(sharing, key="verbosity".__eq__)
    return MappingProxyType({dest: _option(dest, sharing[dest]) for dest in ordered})


def option_strings(parser: ArgumentParser) -> frozenset[str]:
    """Every flag and every option's name, such as ``--days`` and ``-d``, the base options' too."""
    return frozenset(string for action in actions_of(parser) for string in action.option_strings)


def is_required(action: Action) -> bool:
    """Whether the parser insists on it. Some versions say so also of positionals that may be empty."""
    may_be_empty = not action.option_strings and action.nargs in (OPTIONAL, ZERO_OR_MORE, REMAINDER)
    return action.required and not may_be_empty


def is_short(flag: str) -> bool:
    return flag[:1] != flag[1:2]


def _is_option(action: Action) -> bool:
    return kind_of(action) is not Kind.REPORT and action.dest not in {SUPPRESS, *BASE_OPTIONS}


def _option(dest: str, actions: Sequence[Action]) -> Option:
    """Only actions of the first one's kind: a count and a list have no common value."""
    alike = tuple(action for action in actions if kind_of(action) is kind_of(actions[0]))
    defaults = [action.default for action in actions if action.default is not SUPPRESS]
    return Option(dest=dest, actions=alike, default=defaults[0] if defaults else None)


def _flag(option: Option, action: Action, string: str) -> Flag:
    is_pair = isinstance(action, BooleanOptionalAction)
    stores = not string.startswith("--no-") if is_pair else action.const
    value = stores.value if isinstance(stores, Enum) else stores
    if not _is_scalar(value):
        value = True if option.is_lone_flag else string.lstrip("-")
    return Flag(action=action, string=string, stores=stores, value=value)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
