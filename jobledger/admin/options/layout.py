"""Where a job's options stand in a form: in the groups of its parser, and of its sub-commands' parsers.

What the parser hides (``help=SUPPRESS``) stands nowhere.
"""

from argparse import Action, ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobledger.admin.options.job_option import JobOption
from jobledger.jobs.options.argparse_internals import ExclusiveGroup, argument_groups, subcommand_help
from jobledger.jobs.options.parser import options_of


@dataclass(frozen=True, kw_only=True)
class OptionRow:
    """Options that stand together: one, or those of which only one may be given."""

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
    # Every command has it: it stands behind all that is the job's own.
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
    """A group of which only one may be given is one row, where its first option stands."""
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
