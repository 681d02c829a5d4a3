"""A job's options as a form shows them: the name, flags, help and default of each, and their layout.

An option of a sub-command is named after it too, ``fetch.url``: two sub-commands may have options of one
``dest``. The layout follows the groups of the parser, and of its sub-commands' parsers. What the parser hides
(``help=SUPPRESS``) is left out.
"""

import copy
import re
from argparse import OPTIONAL, SUPPRESS, Action, ArgumentParser
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobledger.admin.options.quoting import quote
from jobledger.jobs import secrets
from jobledger.jobs.options.argparse_internals import (
    ExclusiveGroup,
    argument_groups,
    exclusive_groups,
    expand_help,
    format_values,
    subcommand_help,
)
from jobledger.jobs.options.parser import Option, is_short, options_of
from jobledger.jobs.options.values import scalar

MAX_CHOICES = 200
"""A longer list of choices is no help in choosing; its option is a text."""
MAX_CHOICES_IN_FLAGS = 12


@dataclass(frozen=True, kw_only=True)
class JobOption:
    """A parser's option, with the sub-commands that lead to its parser."""

    option: Option
    parser: ArgumentParser
    subcommands: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unlike its ``dest``, unique in the job."""
        return ".".join((*self.subcommands, self.option.dest))

    @property
    def action(self) -> Action:
        """The action that says most about it: the one that takes a value, or the first."""
        return self.option.taker or self.option.actions[0]

    @property
    def exclusive_group(self) -> ExclusiveGroup | None:
        groups = exclusive_groups(self.parser)
        return next((group for group in groups if self.option.actions[0] in group.actions), None)

    @property
    def is_hidden(self) -> bool:
        return all(action.help is SUPPRESS for action in self.option.actions)

    @property
    def takes_list(self) -> bool:
        """Whether it is given several values at a time."""
        return self.action.nargs not in (None, OPTIONAL)

    @property
    def may_lack_value(self) -> bool:
        """Whether it may be given with a value or without one."""
        return self.action.nargs == OPTIONAL and bool(self.action.option_strings)

    @property
    def choices(self) -> list[str]:
        """The choices as a user would type them; none if they cannot be listed."""
        choices: Any = self.action.choices
        if self.option.taker is None or not isinstance(choices, Iterable):
            return []
        try:
            listed = list(choices) if len(choices) <= MAX_CHOICES else []  # type: ignore[arg-type]
        except TypeError:
            return []
        return [str(scalar(self.action, choice)) for choice in listed]

    @property
    def label(self) -> str:
        """``--batch-size`` as "Batch size"."""
        actions = self.option.actions
        strings = sorted(actions[0].option_strings, key=is_short) if len(actions) == 1 else []
        metavar = self.action.metavar
        positional = metavar if isinstance(metavar, str) and not self.action.option_strings else ""
        name = strings[0] if strings else positional or self.option.dest
        words = re.sub(r"[-_\s]+", " ", name).strip() or name
        rest = words[1:].lower() if words.isupper() else words[1:]
        return words[0].upper() + rest if rest else words

    @property
    def flags(self) -> str:
        """How it is written on a command line: ``--batch-size N``; empty for a positional."""
        return ", ".join(
            " ".join(filter(None, (", ".join(action.option_strings), _values_of(action))))
            for action in self.option.actions
            if action.option_strings
        )

    @property
    def default(self) -> str:
        """The default as a user would type it; empty if it tells the user nothing."""
        default = self.option.default
        if default is None or isinstance(default, bool) or default in ("", [], ()):
            return ""
        values = default if isinstance(default, list | tuple) else [default]
        return ", ".join(map(self._typed, values))

    def help(self, *, is_secret: bool = False) -> str:
        """The author's help, its ``%(default)s`` filled in."""
        texts = (self._help_of(action, is_secret=is_secret) for action in self.option.actions)
        return " ".join(dict.fromkeys(filter(None, texts)))

    @property
    def default_hint(self) -> str:
        """The default in a sentence, unless the help says it already."""
        is_said = any("%(default)" in (action.help or "") for action in self.option.actions)
        return f"Default: {self.default}." if self.default and not is_said else ""

    def _help_of(self, action: Action, *, is_secret: bool) -> str:
        if action.help is None or action.help is SUPPRESS:
            return ""
        default = secrets.MASK if is_secret and action.default is not None else action.default
        try:
            return expand_help(self.parser, action, default=default).strip()
        except (ValueError, TypeError, KeyError):
            return action.help

    def _typed(self, value: Any) -> str:
        taker = self.option.taker
        return quote(str(scalar(taker, value) if taker else value))


@dataclass(frozen=True, kw_only=True)
class OptionRow:
    """Options shown together: one, or a group of which only one may be given."""

    options: tuple[JobOption, ...]
    exclusive: ExclusiveGroup | None = None


@dataclass(frozen=True, kw_only=True)
class OptionSection:
    """One of a parser's groups of arguments."""

    title: str
    description: str
    subcommands: tuple[str, ...]
    rows: tuple[OptionRow, ...]


@dataclass(frozen=True)
class Layout:
    """All the options of a parser and of its sub-commands' parsers."""

    parser: ArgumentParser

    @cached_property
    def sections(self) -> tuple[OptionSection, ...]:
        """The parser's groups in its order, those without options left out."""
        return tuple(section for section in _sections(self.parser, (), "", "") if section.rows)

    @cached_property
    def rows(self) -> tuple[OptionRow, ...]:
        return tuple(row for section in self.sections for row in section.rows)

    @cached_property
    def options(self) -> Mapping[str, JobOption]:
        """By name."""
        return {option.name: option for row in self.rows for option in row.options}

    def chosen_subcommands(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The sub-commands, from the first to the last, that these values of options choose."""
        return tuple(_chosen(self.parser, values))

    def find(self, dest: str, values: Mapping[str, Any]) -> JobOption | None:
        """The option of this ``dest`` under the sub-commands that the values choose: the innermost."""
        subcommands = self.chosen_subcommands(values)
        for depth in range(len(subcommands), -1, -1):
            if option := self.options.get(".".join((*subcommands[:depth], dest))):
                return option
        return None


def _chosen(parser: ArgumentParser, values: Mapping[str, Any]) -> Iterator[str]:
    for option in options_of(parser).values():
        if name := option.subcommand_name(values.get(option.dest)):
            yield name
            yield from _chosen(option.subcommands[name], values)


def _sections(
    parser: ArgumentParser, subcommands: tuple[str, ...], title: str, description: str
) -> Iterator[OptionSection]:
    every = [
        JobOption(option=option, parser=parser, subcommands=subcommands)
        for option in options_of(parser).values()
    ]
    visible = [each for each in every if not each.is_hidden]
    # Every command has it: it comes after the job's own options.
    last = [each for each in visible if each.name == "verbosity"]
    others = [each for each in visible if each.name != "verbosity"]
    ungrouped, *groups = argument_groups(parser)
    rows = _rows(others, ungrouped.actions)
    yield OptionSection(title=title, description=description, subcommands=subcommands, rows=rows)
    for group in groups:
        heading = ": ".join(filter(None, (title, group.title)))
        rows = _rows(others, group.actions)
        yield OptionSection(title=heading, description=group.description, subcommands=subcommands, rows=rows)
    for option in others:
        yield from _sections_below(option)
    rows = tuple(OptionRow(options=(option,)) for option in last)
    yield OptionSection(title="", description="", subcommands=subcommands, rows=rows)


def _sections_below(option: JobOption) -> Iterator[OptionSection]:
    texts = subcommand_help(option.action)
    for name, parser in option.option.subcommands.items():
        path = (*option.subcommands, name)
        yield from _sections(parser, path, " ".join(path), texts.get(name, ""))


def _rows(options: Sequence[JobOption], actions: Sequence[Action]) -> tuple[OptionRow, ...]:
    """A mutually exclusive group is one row, in the place of its first option."""
    members = [option for option in options if option.option.actions[0] in actions]
    rows: list[OptionRow] = []
    for option in members:
        group = option.exclusive_group
        together = tuple(each for each in members if group and each.exclusive_group == group)
        row = OptionRow(options=together, exclusive=group)
        if len(together) < 2:
            rows.append(OptionRow(options=(option,)))
        elif row not in rows:
            rows.append(row)
    return tuple(rows)


def _values_of(action: Action) -> str:
    if action.nargs == 0:
        return ""
    shown = copy.copy(action)
    if action.metavar is None and not _are_few(action.choices):
        shown.metavar = action.dest.upper()
    return format_values(shown)


def _are_few(choices: Any) -> bool:
    """argparse lists all of them, and breaks where they cannot be listed."""
    return choices is None or (isinstance(choices, Collection) and len(choices) <= MAX_CHOICES_IN_FLAGS)
