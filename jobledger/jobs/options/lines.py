"""A command line as argparse reads it: one mention after the other of a parser's actions.

Owns reading, writing and judging lines. ``write`` promises that the argparse which is running
reads the line back as the very mentions it was made from, and raises ``OptionsError`` when it
cannot. ``judge`` gives the parser's own verdict, and neither prints nor ends the process.

How: which words argparse takes for options, what a list of values swallows and what becomes of
``--`` differs between its versions. So nothing here knows those rules. A line is written in the
plainest way, read back by a parser of the same layout that only takes notes, and written in the
next way when the notes differ.
"""

from argparse import (
    REMAINDER,
    SUPPRESS,
    Action,
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    _SubParsersAction,
)
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from django.core.management.base import CommandError


class OptionsError(ValueError):
    """Options that a command does not accept; the text is for the operator and names the option."""


@dataclass(frozen=True, kw_only=True)
class Mention:
    """One place in a line at which an action is named and given its words."""

    action: Action
    flag: str | None
    """The option string, or ``None`` for a positional."""
    words: tuple[str, ...] = ()


def read(parser: ArgumentParser, line: Sequence[str]) -> list[Mention]:
    """The mentions in a line: its layout only, so types, choices and required ones are not judged.

    A sub-command is one mention whose words are its name and all the words that follow it.
    """
    if file := _file_in(parser, line):
        raise OptionsError(f"{file!r} {_FILE}")
    reader = _Reader(parser)
    _, extras = reader.parse_known_args(list(line))
    if extras:
        raise OptionsError(f"unrecognized arguments: {' '.join(extras)}")
    return _audible(reader.mentions)


def _audible(mentions: Iterable[Mention]) -> list[Mention]:
    """Without positionals that are given no words: the line shows nothing of them."""
    return [mention for mention in mentions if mention.flag or mention.words]


def _file_in(parser: ArgumentParser, words: Iterable[str]) -> str | None:
    """The first word that argparse would read as the name of a file with more arguments."""
    marks = tuple(parser.fromfile_prefix_chars or "")
    return next((word for word in words if word.startswith(marks)), None)


def write(parser: ArgumentParser, mentions: Sequence[Mention]) -> list[str]:
    """A line that argparse reads as these mentions, options before positionals."""
    audible = _audible(mentions)
    for ordered, line in _spellings(audible):
        if _reads_as(parser, line, ordered):
            return line
    raise OptionsError(_why_unwritable(parser, audible))


def _spellings(mentions: Sequence[Mention]) -> Iterator[tuple[list[Mention], list[str]]]:
    options = [mention for mention in mentions if mention.flag]
    positionals = [mention for mention in mentions if not mention.flag]
    words = [word for mention in positionals for word in mention.words]
    for ordered in (options, _lists_first(options)):
        line = [word for mention in ordered for word in _spelled(mention)]
        yield [*ordered, *positionals], [*line, *words]
        if words:
            yield [*ordered, *positionals], [*line, "--", *words]


def _spelled(mention: Mention) -> list[str]:
    flag = mention.flag or ""
    if len(mention.words) == 1:
        return [flag + "=" + mention.words[0]]
    return [flag, *mention.words]


def _lists_first(options: Iterable[Mention]) -> list[Mention]:
    """So that another option ends a list, and nothing follows what takes all the rest. The
    mentions of one ``dest`` stay together: their order counts.
    """
    ranks: dict[str, int] = {}
    for mention in options:
        rank = {"*": 0, "+": 0, REMAINDER: 2}.get(str(mention.action.nargs), 1)
        ranks[mention.action.dest] = max(rank, ranks.get(mention.action.dest, 0))
    return sorted(options, key=lambda mention: ranks[mention.action.dest])


def _reads_as(parser: ArgumentParser, line: Sequence[str], mentions: Sequence[Mention]) -> bool:
    try:
        return read(parser, line) == list(mentions)
    except OptionsError:
        return False


_FILE = "would be read as the name of a file with more arguments"
_DASHES = "argparse would take one of the values for an option or for its own mark '--'"


def _why_unwritable(parser: ArgumentParser, mentions: Sequence[Mention]) -> str:
    for mention in mentions:
        words = _spelled(mention) if mention.flag else mention.words
        if file := _file_in(parser, words):
            return f"{_name(mention.action)}: {file!r} {_FILE}"
        if mention.flag and not _reads_as(parser, words, [mention]):
            return f"{_named(mention)} cannot be written on a command line: {_DASHES}"
    return _why_no_order(parser, mentions)


def _why_no_order(parser: ArgumentParser, mentions: Sequence[Mention]) -> str:
    """What stands last is what the others get into the way of."""
    last = mentions[-1]
    given = {mention.action for mention in mentions}
    positionals = parser._get_positional_actions()
    until_last = positionals.index(last.action) if last.action in positionals else 0
    for earlier in positionals[:until_last]:
        if earlier not in given:
            needed = f"{_name(earlier)}, which comes before it"
            return f"{_name(last.action)}: cannot be given without {needed}"
    return f"{_named(last)} cannot be written on a command line after the others: {_DASHES}"


def _named(mention: Mention) -> str:
    return f"{_name(mention.action)}: {' '.join(map(repr, mention.words))}"


def _name(action: Action) -> str:
    return action.option_strings[0] if action.dest == SUPPRESS else action.dest


class _Recorder(Action):
    def __init__(self, action: Action, mentions: list[Mention]) -> None:
        super().__init__(action.option_strings, action.dest, nargs=action.nargs)
        self.action = action
        self.mentions = mentions

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        words = (values,) if isinstance(values, str) else tuple(values or ())
        self.mentions.append(Mention(action=self.action, flag=option_string, words=words))


class _Reader(ArgumentParser):
    """A parser of the same layout as another one, which notes every mention and does nothing."""

    def __init__(self, parser: ArgumentParser) -> None:
        super().__init__(
            prog=parser.prog,
            prefix_chars=parser.prefix_chars,
            allow_abbrev=parser.allow_abbrev,
            add_help=False,
        )
        self.mentions: list[Mention] = []
        for action in parser._actions:
            self._add_action(_Recorder(action, self.mentions))

    def error(self, message: str) -> NoReturn:
        raise OptionsError(message)


class _Stopped(Exception):  # noqa: N818 - a signal, not an error
    """A parser's last word. Not a ValueError: argparse would take that for a value's wrong type."""


def judge(parser: ArgumentParser, line: Sequence[str]) -> Namespace:
    """What the parser makes of the line; its message, whole, in an ``OptionsError``."""
    try:
        with _silenced(parser):
            return parser.parse_args(list(line))
    except (_Stopped, ArgumentError, ArgumentTypeError, CommandError) as verdict:
        raise OptionsError(str(verdict).strip().removeprefix("Error: ")) from verdict
    except SystemExit as end:
        raise OptionsError("the command's parser ended the process") from end
    except Exception as error:  # a type or an action of the command's own may raise anything
        kind = type(error).__name__
        raise OptionsError(f"the command's parser failed with {kind}: {error}") from error


@contextmanager
def _silenced(parser: ArgumentParser) -> Iterator[None]:
    """Let this parser and its sub-commands' neither print nor exit. Other parsers are untouched."""
    replaced = {"error": _stop, "exit": _stop_at_exit, "_print_message": _print_nothing}
    kept = [(vars(each), dict(vars(each))) for each in _with_subparsers(parser)]
    for attributes, _ in kept:
        attributes.update(replaced)
    try:
        yield
    finally:
        for attributes, before in kept:
            for name in replaced:
                attributes.pop(name)
            attributes.update({name: before[name] for name in replaced if name in before})


def _with_subparsers(parser: ArgumentParser) -> Iterator[ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            for subparser in set(action.choices.values()):
                yield from _with_subparsers(subparser)


def _stop(message: str) -> NoReturn:
    raise _Stopped(message)


def _stop_at_exit(status: int = 0, message: str | None = None) -> NoReturn:
    raise _Stopped(message or "the command's parser ended instead of parsing")


def _print_nothing(message: str, file: object = None) -> None:
    """Take the place of a parser's only way to print."""
