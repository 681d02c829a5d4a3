"""A job's options for display in a form: their names, flags, help texts, defaults and layout.

The name of a subcommand's option includes the subcommand, as in ``fetch.url``, because two subcommands may
have options with the same ``dest``. The layout follows the argument groups of the parser and of its
subcommands' parsers. Options that the parser hides (``help=SUPPRESS``) are omitted.
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
from jobledger.jobs.options.validation import why_worker_only
from jobledger.jobs.options.values import scalar

MAX_CHOICES = 200
"""Options with more choices are shown as text inputs: a longer list would not be usable."""
MAX_CHOICES_IN_FLAGS = 12


@dataclass(frozen=True, kw_only=True)
class JobOption:
    """An option, with its parser and the subcommands that lead to it."""

    option: Option
    parser: ArgumentParser
    subcommands: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unlike ``dest``, unique within the job."""
        return ".".join((*self.subcommands, self.option.dest))

    @property
    def action(self) -> Action:
        """The most descriptive action: the one that takes a value, or the first one."""
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
        """Whether it takes several values at once."""
        return self.action.nargs not in (None, OPTIONAL)

    @property
    def may_lack_value(self) -> bool:
        """Whether its value is optional."""
        return self.action.nargs == OPTIONAL and bool(self.action.option_strings)

    @property
    def choices(self) -> list[str]:
        """The choices as a user would type them; empty if they cannot be listed."""
        choices: Any = self.action.choices
        if self.option.taker is None or not isinstance(choices, Iterable):
            return []
        try:
            values = list(choices) if len(choices) <= MAX_CHOICES else []  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - choices may be computed, and are not needed to enter a value
            return []
        return [str(scalar(self.action, choice)) for choice in values]

    @property
    def label(self) -> str:
        """For example, "Batch size" for ``--batch-size``."""
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
        """The command-line syntax, such as ``--batch-size N``; empty for a positional argument."""
        return ", ".join(
            " ".join(filter(None, (", ".join(action.option_strings), _value_syntax(action))))
            for action in self.option.actions
            if action.option_strings
        )

    @property
    def default(self) -> str:
        """The default as a user would type it; empty if it would not be informative."""
        default = self.option.default
        if default is None or isinstance(default, bool) or default in ("", [], ()):
            return ""
        values = default if isinstance(default, list | tuple) else [default]
        return ", ".join(map(self._as_typed, values))

    def help(self, *, is_secret: bool = False) -> str:
        """The help text, with ``%(default)s`` expanded."""
        texts = (self._help_of(action, is_secret=is_secret) for action in self.option.actions)
        return " ".join(dict.fromkeys(filter(None, texts)))

    @property
    def default_hint(self) -> str:
        """The default as a sentence, unless the help text already includes it."""
        is_in_help = any("%(default)" in (action.help or "") for action in self.option.actions)
        return f"Default: {self.default}." if self.default and not is_in_help else ""

    @property
    def worker_hint(self) -> str:
        """Why only a worker can validate it; empty if the form does."""
        reasons = (why_worker_only(self.parser, action) for action in self.option.actions)
        why = next(filter(None, reasons), "")
        return f"A worker validates it when the job runs: {why}" if why else ""

    def _help_of(self, action: Action, *, is_secret: bool) -> str:
        if action.help is None or action.help is SUPPRESS:
            return ""
        default = secrets.MASK if is_secret and action.default is not None else action.default
        try:
            return expand_help(self.parser, action, default=default).strip()
        except (ValueError, TypeError, KeyError):
            return action.help

    def _as_typed(self, value: Any) -> str:
        taker = self.option.taker
        return quote(str(scalar(taker, value) if taker else value))


@dataclass(frozen=True, kw_only=True)
class OptionRow:
    """A single option, or a mutually exclusive group."""

    options: tuple[JobOption, ...]
    exclusive: ExclusiveGroup | None = None


@dataclass(frozen=True, kw_only=True)
class OptionSection:
    """An argument group of a parser."""

    title: str
    description: str
    subcommands: tuple[str, ...]
    rows: tuple[OptionRow, ...]


@dataclass(frozen=True)
class Layout:
    """All options of a parser and of its subcommands' parsers."""

    parser: ArgumentParser

    @cached_property
    def sections(self) -> tuple[OptionSection, ...]:
        """The parser's non-empty groups, in order."""
        return tuple(section for section in _sections(self.parser, (), "", "") if section.rows)

    @cached_property
    def rows(self) -> tuple[OptionRow, ...]:
        return tuple(row for section in self.sections for row in section.rows)

    @cached_property
    def options(self) -> Mapping[str, JobOption]:
        """Maps names to options."""
        return {option.name: option for row in self.rows for option in row.options}

    def chosen_subcommands(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """The subcommands that these option values select, outermost first."""
        return tuple(_chosen(self.parser, values))

    def find(self, dest: str, values: Mapping[str, Any]) -> JobOption | None:
        """The innermost option with this ``dest`` under the subcommands that the values select."""
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
    options = [
        JobOption(option=option, parser=parser, subcommands=subcommands)
        for option in options_of(parser).values()
    ]
    visible = [each for each in options if not each.is_hidden]
    # Every command has --verbosity: it comes after the job's own options.
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
    """A mutually exclusive group becomes one row, in place of its first option."""
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


def _value_syntax(action: Action) -> str:
    if action.nargs == 0:
        return ""
    displayed = copy.copy(action)
    if action.metavar is None and not _is_short_list(action.choices):
        displayed.metavar = action.dest.upper()
    return format_values(displayed)


def _is_short_list(choices: Any) -> bool:
    """argparse lists all choices, and fails if they cannot be listed."""
    return choices is None or (isinstance(choices, Collection) and len(choices) <= MAX_CHOICES_IN_FLAGS)
