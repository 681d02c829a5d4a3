"""Reads, writes and parses argument lists, seen as a sequence of occurrences of actions.

``write`` guarantees that the installed version of argparse reads the list back as the same occurrences, and
raises ``OptionsError`` if there is no such list. ``parse`` runs the parser itself, which neither prints nor
exits, but opens files and calls the author's functions.

Versions of argparse differ in which words they take for options, how many words a list of values consumes,
and what happens to ``--``. So nothing here relies on those rules. A list is written in the simplest way and
read back by a parser with the same arguments that only records them. If the result differs, the next way of
writing it is tried.
"""

from argparse import (
    REMAINDER,
    SUPPRESS,
    Action,
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
    HelpFormatter,
    Namespace,
)
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from django.core.management.base import CommandError

from jobledger.jobs.options.argparse_internals import ParserStopped, actions_of, silenced, subcommands_of
from jobledger.jobs.options.errors import OptionsError, Problem, problems_in


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """An action in an argument list, with its words."""

    action: Action
    flag: str | None
    """The option string; None for a positional."""
    words: tuple[str, ...] = ()


def read(parser: ArgumentParser, argv: Sequence[str]) -> list[Occurrence]:
    """The occurrences in a list. Does not validate types, choices and required arguments.

    A subcommand is a single occurrence, whose words are its name and all following words.
    """
    if file := _file_in(parser, argv):
        raise OptionsError(f"{file!r} {_FILE}")
    reader = _Reader(parser)
    _, extras = reader.parse_known_args(list(argv))
    if extras:
        raise OptionsError(f"unrecognized arguments: {' '.join(extras)}")
    return _visible(reader.occurrences)


def write(parser: ArgumentParser, occurrences: Sequence[Occurrence]) -> list[str]:
    """A list that argparse reads as these occurrences, with options before positionals."""
    visible = _visible(occurrences)
    for ordered, argv in _spellings(visible):
        if _reads_as(parser, argv, ordered):
            return argv
    raise _why_unwritable(parser, visible)


def parse(parser: ArgumentParser, argv: Sequence[str]) -> Namespace:
    """Parse the list with the parser. Raises OptionsError with the parser's complete message."""
    with options_errors(parser, argv), silenced(parser):
        # Not the instance's attribute, which may lead here.
        return type(parser).parse_args(parser, list(argv))


@contextmanager
def options_errors(parser: ArgumentParser, argv: Sequence[str]) -> Iterator[None]:
    """Turn whatever a parser raises in the block into OptionsError."""
    try:
        yield
    except OptionsError:
        raise
    except (ParserStopped, ArgumentError, ArgumentTypeError, CommandError) as error:
        message = str(error).strip().removeprefix("Error: ")
        raise OptionsError(message, problems=problems_of(parser, argv, message)) from error
    except SystemExit as end:
        raise OptionsError("the command's parser exited the process") from end
    except Exception as error:  # a custom type or action may raise anything
        kind = type(error).__name__
        raise OptionsError(f"the command's parser failed with {kind}: {error}") from error


def _visible(occurrences: Iterable[Occurrence]) -> list[Occurrence]:
    """Without positionals that have no words, since these leave no trace in the list."""
    return [occurrence for occurrence in occurrences if occurrence.flag or occurrence.words]


def _file_in(parser: ArgumentParser, words: Iterable[str]) -> str | None:
    """The first word that argparse would read as the name of an arguments file."""
    prefixes = tuple(parser.fromfile_prefix_chars or "")
    return next((word for word in words if word.startswith(prefixes)), None)


# Writing


def _spellings(occurrences: Sequence[Occurrence]) -> Iterator[tuple[list[Occurrence], list[str]]]:
    options = [occurrence for occurrence in occurrences if occurrence.flag]
    positionals = [occurrence for occurrence in occurrences if not occurrence.flag]
    words = [word for occurrence in positionals for word in occurrence.words]
    for ordered in (options, _lists_first(options)):
        argv = [word for occurrence in ordered for word in _spelled(occurrence)]
        yield [*ordered, *positionals], [*argv, *words]
        if words:
            yield [*ordered, *positionals], [*argv, "--", *words]


def _spelled(occurrence: Occurrence) -> list[str]:
    flag = occurrence.flag or ""
    if len(occurrence.words) == 1:
        return [flag + "=" + occurrence.words[0]]
    return [flag, *occurrence.words]


def _lists_first(options: Iterable[Occurrence]) -> list[Occurrence]:
    """Sort so that another option ends each list, and nothing follows what takes all remaining words.

    The order of the occurrences of one ``dest`` is preserved, because it matters.
    """
    ranks: dict[str, int] = {}
    for occurrence in options:
        rank = {"*": 0, "+": 0, REMAINDER: 2}.get(str(occurrence.action.nargs), 1)
        ranks[occurrence.action.dest] = max(rank, ranks.get(occurrence.action.dest, 0))
    return sorted(options, key=lambda occurrence: ranks[occurrence.action.dest])


def _reads_as(parser: ArgumentParser, argv: Sequence[str], occurrences: Sequence[Occurrence]) -> bool:
    try:
        return read(parser, argv) == list(occurrences)
    except OptionsError:
        return False


_FILE = "would be read as the name of an arguments file"
_DASHES = "argparse would read one of the values as an option or as the separator '--'"


def _why_unwritable(parser: ArgumentParser, occurrences: Sequence[Occurrence]) -> OptionsError:
    for occurrence in occurrences:
        words = _spelled(occurrence) if occurrence.flag else occurrence.words
        if file := _file_in(parser, words):
            return _error(occurrence, f"{file!r} {_FILE}")
        if occurrence.flag and not _reads_as(parser, words, [occurrence]):
            return _error(occurrence, f"{_quoted(occurrence)} cannot be written on a command line: {_DASHES}")
    return _why_no_order(parser, occurrences)


def _why_no_order(parser: ArgumentParser, occurrences: Sequence[Occurrence]) -> OptionsError:
    """Each occurrence can be written on its own, so blame the last one, which no longer fits."""
    last = occurrences[-1]
    given = {occurrence.action for occurrence in occurrences}
    positionals = [action for action in actions_of(parser) if not action.option_strings]
    until_last = positionals.index(last.action) if last.action in positionals else 0
    for earlier in positionals[:until_last]:
        if earlier not in given:
            return _error(last, f"cannot be given without {_name(earlier)}, which comes before it")
    place = "on a command line after the other arguments"
    return _error(last, f"{_quoted(last)} cannot be written {place}: {_DASHES}")


def _error(occurrence: Occurrence, text: str) -> OptionsError:
    return OptionsError(f"{_name(occurrence.action)}: {text}", dest=occurrence.action.dest)


def _quoted(occurrence: Occurrence) -> str:
    return " ".join(map(repr, occurrence.words))


def _name(action: Action) -> str:
    return action.option_strings[0] if action.dest == SUPPRESS else action.dest


# Reading


class _Recorder(Action):
    """Stands in for an action and records its occurrences."""

    def __init__(
        self,
        option_strings: Sequence[str],
        dest: str,
        *,
        recorded: Action,
        occurrences: list[Occurrence],
        nargs: int | str | None = None,
        **settings: object,
    ) -> None:
        # Settings such as ``required`` are dropped, since nothing is to be validated.
        super().__init__(option_strings, dest, nargs=nargs)
        self.recorded = recorded
        self.occurrences = occurrences

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        words = (values,) if isinstance(values, str) else tuple(values or ())
        self.occurrences.append(Occurrence(action=self.recorded, flag=option_string, words=words))


def syntax_of(parser: ArgumentParser) -> dict[str, Any]:
    """How a parser reads a list, for another one with the same arguments: settings of ``ArgumentParser``."""
    return {
        "prog": parser.prog,
        "prefix_chars": parser.prefix_chars,
        "allow_abbrev": parser.allow_abbrev,
        "add_help": False,
        # Otherwise, argparse looks up the terminal's size for each argument.
        "formatter_class": partial(HelpFormatter, width=80),
    }


class _Reader(ArgumentParser):
    """A parser with the same arguments as another one, which only records their occurrences."""

    def __init__(self, parser: ArgumentParser) -> None:
        super().__init__(**syntax_of(parser))
        self.occurrences: list[Occurrence] = []
        for action in actions_of(parser):
            self.add_argument(
                *action.option_strings,
                dest=action.dest,
                nargs=action.nargs,
                action=_Recorder,
                recorded=action,
                occurrences=self.occurrences,
            )

    def error(self, message: str) -> NoReturn:
        raise OptionsError(message)


# Errors


def problems_of(parser: ArgumentParser, argv: Sequence[str], message: str) -> Sequence[Problem]:
    """The problems that the message describes. Tries the innermost subcommand's parser first."""
    for each, occurrences in reversed(list(levels(parser, argv))):
        if found := problems_in(message, each, [occurrence.action for occurrence in occurrences]):
            return found
    return ()


def levels(
    parser: ArgumentParser, argv: Sequence[str]
) -> Iterator[tuple[ArgumentParser, Sequence[Occurrence]]]:
    """The parser and those of the chosen subcommands, outermost first, each with its occurrences."""
    try:
        occurrences = read(parser, argv)
    except OptionsError:
        return
    yield parser, occurrences
    for occurrence in occurrences:
        if subparser := subcommands_of(occurrence.action).get(next(iter(occurrence.words), "")):
            yield from levels(subparser, occurrence.words[1:])
