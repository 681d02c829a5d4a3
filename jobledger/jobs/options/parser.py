"""A parser's options by ``dest``, and the JSON value of each flag.

Determines which options a job has (never those of ``manage.py`` itself), and which of argparse's actions
belong to the same option.
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

OVERLAP_OPTIONS = ("jobledger_wait", "jobledger_allow_overlap")
"""What the service adds to every job's parser: no author's option has these names."""
RESERVED_OPTIONS = frozenset(
    {
        *OVERLAP_OPTIONS,
        "force_color",
        "no_color",
        "pythonpath",
        "settings",
        "skip_checks",
        "stderr",
        "stdout",
        "traceback",
    }
)
"""Options whose values ``manage.py`` or its caller uses for itself, even if a job has one of this name."""
BASE_STRINGS = frozenset(
    f"--{name.replace('_', '-')}" for name in RESERVED_OPTIONS - {*OVERLAP_OPTIONS, "stderr", "stdout"}
)
"""The option strings that Django adds to every command."""
BASE_OPTIONS = RESERVED_OPTIONS | {"allow_overlap", "help", "version", "wait"}
"""Options that belong to ``manage.py`` and its caller, unless a job has its own of the same name."""


@dataclass(frozen=True, kw_only=True)
class Flag:
    """An option string that takes no value."""

    action: Action
    string: str
    stores: Any
    """What the command receives."""
    value: Any
    """The same as JSON."""

    @property
    def json(self) -> str:
        return json.dumps(self.value)


@dataclass(frozen=True, kw_only=True)
class Option:
    """The actions of a parser that share a ``dest``, and therefore a value."""

    dest: str
    actions: tuple[Action, ...]
    default: Any

    @property
    def kind(self) -> Kind:
        return kind_of(self.actions[0])

    @property
    def taker(self) -> Action | None:
        """The action that takes a value, or None."""
        return next((action for action in self.actions if action.nargs != 0), None)

    @property
    def flags(self) -> list[Flag]:
        """The flags, long names first."""
        return [
            _flag(self, action, string)
            for action in self.actions
            if action.nargs == 0
            for string in sorted(action.option_strings, key=is_short)
        ]

    @property
    def distinct_flags(self) -> list[Flag]:
        """One flag for each value, preferably with a long name."""
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
        """The parsers of its subcommands, by name but not by alias; empty for an ordinary option."""
        names: dict[ArgumentParser, str] = {}
        for name, parser in subcommands_of(self.actions[0]).items():
            names.setdefault(parser, name)
        return {name: parser for parser, name in names.items()}

    def subcommand_name(self, value: object) -> str | None:
        """The name of the subcommand with this name or alias, or None."""
        chosen = subcommands_of(self.actions[0]).get(value) if isinstance(value, str) else None
        return next((name for name, parser in self.subcommands.items() if parser is chosen), None)


def options_of(parser: ArgumentParser) -> Mapping[str, Option]:
    """The parser's options by ``dest``, without the base options, in its order but with verbosity last."""
    sharing: dict[str, list[Action]] = {}
    for action in actions_of(parser):
        if _is_option(action):
            sharing.setdefault(action.dest, []).append(action)
    ordered = sorted(sharing, key="verbosity".__eq__)
    return MappingProxyType({dest: _option(dest, sharing[dest]) for dest in ordered})


def option_strings(parser: ArgumentParser) -> frozenset[str]:
    """All option strings, such as ``--days`` and ``-d``, including those of the base options."""
    return frozenset(string for action in actions_of(parser) for string in action.option_strings)


def is_required(action: Action) -> bool:
    """Whether it must be given. Some versions also mark positionals that may be empty as required."""
    may_be_empty = not action.option_strings and action.nargs in (OPTIONAL, ZERO_OR_MORE, REMAINDER)
    return action.required and not may_be_empty


def is_short(flag: str) -> bool:
    return flag[:1] != flag[1:2]


def _is_option(action: Action) -> bool:
    return kind_of(action) is not Kind.EXIT and action.dest not in {SUPPRESS, *RESERVED_OPTIONS}


def _option(dest: str, actions: Sequence[Action]) -> Option:
    """Ignores actions of another kind than the first: a count and a list cannot share a value."""
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
