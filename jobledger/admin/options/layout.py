"""Where a job's options stand: each has a name of its own in a form, and a place among its parser's groups.

Options below a sub-command bear its name, ``fetch.url``: two sub-commands may have an option of one
``dest``. What the parser hides (``help=SUPPRESS``) has no place.
"""

from argparse import OPTIONAL, SUPPRESS, Action, ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobledger.jobs.options.argparse_internals import (
    ExclusiveGroup,
    argument_groups,
    exclusive_groups,
    subcommand_help,
    subcommands_of,
)
from jobledger.jobs.options.parser import Option, options_of


@dataclass(frozen=True, kw_only=True)
class Place:
    """An option, and the parser that it belongs to."""

    option: Option
    parser: ArgumentParser
    commands: tuple[str, ...] = ()
    """The sub-commands that lead to the parser."""

    @property
    def name(self) -> str:
        """What tells it from every other option of the job."""
        return ".".join((*self.commands, self.option.dest))

    @property
    def action(self) -> Action:
        """The action that says most about it: the one that takes a value, or the first."""
        return self.option.taker or self.option.actions[0]


@dataclass(frozen=True, kw_only=True)
class PlaceRow:
    """Options that stand together: one, or those of which only one may be given."""

    places: tuple[Place, ...]
    exclusive: ExclusiveGroup | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """One of a parser's groups of arguments."""

    title: str
    description: str
    commands: tuple[str, ...]
    rows: tuple[PlaceRow, ...]


@dataclass(frozen=True)
class Layout:
    """All the places of a parser and of its sub-commands' parsers."""

    parser: ArgumentParser

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The parser's groups in its order, those without options left out."""
        return tuple(section for section in _sections(self.parser, (), "", "") if section.rows)

    @cached_property
    def places(self) -> Mapping[str, Place]:
        """By name."""
        rows = (row for section in self.sections for row in section.rows)
        return {place.name: place for row in rows for place in row.places}

    def commands_in(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The sub-commands, from the first to the last, that the options choose."""
        return tuple(name for name, _parser in _chosen(self.parser, options))

    def place_of(self, dest: str, options: Mapping[str, Any]) -> Place | None:
        """Where the option of this ``dest`` stands, given the sub-commands chosen: the innermost place."""
        commands = self.commands_in(options)
        for depth in range(len(commands), -1, -1):
            if place := self.places.get(".".join((*commands[:depth], dest))):
                return place
        return None


def subcommand_names(action: Action) -> Mapping[str, ArgumentParser]:
    """The sub-commands without their aliases."""
    names: dict[ArgumentParser, str] = {}
    for name, parser in subcommands_of(action).items():
        names.setdefault(parser, name)
    return {name: parser for parser, name in names.items()}


def main_name(action: Action, name: object) -> str | None:
    """A sub-command's name for its name or one of its aliases."""
    wanted = subcommands_of(action).get(name) if isinstance(name, str) else None
    return next((main for main, parser in subcommand_names(action).items() if parser is wanted), None)


def _chosen(parser: ArgumentParser, options: Mapping[str, Any]) -> Iterator[tuple[str, ArgumentParser]]:
    for option in options_of(parser).values():
        action = option.actions[0]
        name = main_name(action, options.get(option.dest))
        if name:
            below = subcommand_names(action)[name]
            yield name, below
            yield from _chosen(below, options)


def _sections(
    parser: ArgumentParser, commands: tuple[str, ...], title: str, description: str
) -> Iterator[Section]:
    shown = {dest: option for dest, option in options_of(parser).items() if not _is_hidden(option)}
    last = {"verbosity": shown.pop("verbosity")} if "verbosity" in shown and not commands else {}
    ungrouped, *groups = argument_groups(parser)
    rows = _rows(parser, commands, shown, ungrouped.actions)
    yield Section(title=title, description=description, commands=commands, rows=rows)
    for group in groups:
        own = ": ".join(filter(None, (title, group.title)))
        rows = _rows(parser, commands, shown, group.actions)
        yield Section(title=own, description=group.description, commands=commands, rows=rows)
    for option in shown.values():
        yield from _sections_below(option, commands)
    rows = tuple(PlaceRow(places=(Place(option=option, parser=parser),)) for option in last.values())
    yield Section(title="", description="", commands=commands, rows=rows)


def _sections_below(option: Option, commands: tuple[str, ...]) -> Iterator[Section]:
    action = option.actions[0]
    helps = subcommand_help(action)
    for name, parser in subcommand_names(action).items():
        yield from _sections(parser, (*commands, name), " ".join((*commands, name)), helps.get(name, ""))


def _rows(
    parser: ArgumentParser,
    commands: tuple[str, ...],
    options: Mapping[str, Option],
    actions: Sequence[Action],
) -> tuple[PlaceRow, ...]:
    """A group of which only one may be given is one row, where its first option stands."""
    places = {
        dest: Place(option=option, parser=parser, commands=commands)
        for dest, option in options.items()
        if option.actions[0] in actions
    }
    rows: list[PlaceRow] = []
    for place in places.values():
        group = _exclusive_group(parser, place.option)
        together = tuple(each for each in places.values() if _exclusive_group(parser, each.option) == group)
        row = PlaceRow(places=together, exclusive=group)
        if group is None or len(together) == 1:
            rows.append(PlaceRow(places=(place,)))
        elif row not in rows:
            rows.append(row)
    return tuple(rows)


def _exclusive_group(parser: ArgumentParser, option: Option) -> ExclusiveGroup | None:
    groups = exclusive_groups(parser)
    return next((group for group in groups if option.actions[0] in group.actions), None)


def _is_hidden(option: Option) -> bool:
    return all(action.help is SUPPRESS for action in option.actions)


def takes_list(action: Action) -> bool:
    """Whether it is given several words at a time."""
    return action.nargs not in (None, OPTIONAL)
