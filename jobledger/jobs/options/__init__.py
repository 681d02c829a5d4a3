"""A job's options as JSON, and as the argument list of its command; the command's parser judges.

Options are keyed by argparse ``dest``; null is as good as not given. A flag is true or false (or
its constant), a counted flag is a number, ``nargs`` and whatever appends want a list, ``true``
gives an option with ``nargs="?"`` without its value, and the options of a sub-command stand beside
its name.

Promised: what ``to_argv`` writes is read by argparse as those very options, or it raises
``OptionsError``, whose text is for the operator. Nothing here prints, ends the process, reads a
file that a value names, or touches the database and the clock; a parser is left as it was found.
"""

from argparse import SUPPRESS, ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobledger.jobs.options.lines import Mention, OptionsError, judge, read, write
from jobledger.jobs.options.parser import BASE_OPTIONS, Kind, options_of
from jobledger.jobs.options.values import is_given, to_json, to_mentions, to_value

__all__ = [
    "JsonObject",
    "OptionsError",
    "from_argv",
    "from_namespace",
    "option_names",
    "parse",
    "to_argv",
]

JsonObject = Mapping[str, Any]
"""A job's options, keyed by argparse ``dest``."""


def option_names(parser: ArgumentParser) -> list[str]:
    """The keys that options may have, sub-commands' too, in the parser's order."""
    subcommands = _subcommands(parser)
    below: list[str] = []
    if subcommands and subcommands.dest != SUPPRESS:
        below = _names_in(subcommands)
    return _verbosity_last([*options_of(parser), *below])


def to_argv(parser: ArgumentParser, options: JsonObject) -> list[str]:
    """The options as an argument list; whether their values are good is for the parser to say."""
    _refuse_strangers(parser, options)
    return _line(parser, {dest: value for dest, value in options.items() if value is not None})


def parse(parser: ArgumentParser, options: JsonObject) -> Namespace:
    """What the command would receive; refuses what the parser refuses, in the parser's words."""
    return judge(parser, to_argv(parser, options))


def from_argv(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """The options that a good argument list gives; defaults are left alone.

    Numbers where the parser wants ``int`` or ``float``, otherwise texts as they were written. A
    list that ``to_argv`` could not write again is refused as well.
    """
    options = _options_in(parser, argv)
    judge(parser, argv)
    to_argv(parser, options)
    return options


def from_namespace(parser: ArgumentParser, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options among what a command received that say something else than the defaults.

    Raises for nothing: a value that no option can say is kept as its text.
    """
    options = {
        dest: to_json(parser, option, values[dest])
        for dest, option in options_of(parser).items()
        if dest in values and is_given(parser, option, values[dest])
    }
    try:
        chosen = _chosen(parser, options)
    except OptionsError:
        return options
    return options | from_namespace(chosen.parser, values) if chosen else options


def _line(parser: ArgumentParser, options: JsonObject) -> list[str]:
    chosen = _chosen(parser, options)
    below = _names_beside(chosen.parser, options) if chosen else []
    mentions: list[Mention] = []
    for dest, option in options_of(parser).items():
        if chosen and option.kind is Kind.COMMAND:
            words = (chosen.name, *_line(chosen.parser, options))
            mentions.append(Mention(action=option.actions[0], flag=None, words=words))
        elif dest in options and dest not in below:
            mentions += to_mentions(option, options[dest])
    return write(parser, mentions)


def _options_in(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    mentions = read(parser, argv)
    _refuse_unspeakable(parser, mentions)
    found: dict[str, Any] = {}
    for option in options_of(parser).values():
        said = [mention for mention in mentions if mention.action in option.actions]
        if said and option.kind is not Kind.COMMAND:
            found[option.dest] = to_value(option, said)
    command = next((each for each in mentions if isinstance(each.action, _SubParsersAction)), None)
    return found | _options_below(parser, command, found) if command else found


def _options_below(parser: ArgumentParser, command: Mention, above: JsonObject) -> dict[str, Any]:
    named = {command.action.dest: command.words[0]}
    chosen = _chosen(parser, named)
    if chosen is None:
        return {}
    below = _options_in(chosen.parser, command.words[1:])
    for dest in _names_beside(chosen.parser, below):
        if dest in above:
            raise OptionsError(f"{dest}: goes after {chosen.name!r}, which has this option too")
    return named | below


def _refuse_unspeakable(parser: ArgumentParser, mentions: Sequence[Mention]) -> None:
    speakable = [action for option in options_of(parser).values() for action in option.actions]
    for mention in mentions:
        if mention.action not in speakable:
            why = _why_no_option(parser, mention.action.dest)
            raise OptionsError(f"{mention.flag or mention.words[0]}: {why}")


def _refuse_strangers(parser: ArgumentParser, options: JsonObject) -> None:
    valid = _names_beside(parser, options)
    for key in options:
        if key not in valid:
            why = _why_no_option(parser, key)
            raise OptionsError(f"{key}: {why}; valid options are: {', '.join(valid) or 'none'}")


def _why_no_option(parser: ArgumentParser, dest: str) -> str:
    if dest in BASE_OPTIONS:
        return "belongs to manage.py and cannot be an option of a job"
    subcommands = _subcommands(parser)
    if subcommands and dest in {SUPPRESS, *_names_in(subcommands)}:
        if subcommands.dest == SUPPRESS:
            return "needs a sub-command, and add_subparsers() was given no dest to choose it by"
        return f"goes with another {subcommands.dest}"
    if dest in options_of(parser):
        return f"shares its name, {dest}, with an option of another kind"
    return "no such option"


# Sub-commands


@dataclass(frozen=True, kw_only=True)
class _Subcommand:
    name: str
    parser: ArgumentParser


def _subcommands(parser: ArgumentParser) -> "_SubParsersAction[ArgumentParser] | None":
    found = (action for action in parser._actions if isinstance(action, _SubParsersAction))
    return next(found, None)


def _chosen(parser: ArgumentParser, options: JsonObject) -> _Subcommand | None:
    subcommands = _subcommands(parser)
    if subcommands is None or options.get(subcommands.dest) is None:
        return None
    name = options[subcommands.dest]
    if not isinstance(name, str) or name not in subcommands.choices:
        known = ", ".join(subcommands.choices)
        raise OptionsError(f"{subcommands.dest}: wants one of: {known}; not {name!r}")
    return _Subcommand(name=name, parser=subcommands.choices[name])


def _names_beside(parser: ArgumentParser, options: JsonObject) -> list[str]:
    """The keys that are good beside the sub-command that these options choose."""
    chosen = _chosen(parser, options)
    below = _names_beside(chosen.parser, options) if chosen else []
    return _verbosity_last([*options_of(parser), *below])


def _names_in(subcommands: "_SubParsersAction[ArgumentParser]") -> list[str]:
    return [name for parser in subcommands.choices.values() for name in option_names(parser)]


def _verbosity_last(names: Sequence[str]) -> list[str]:
    return sorted(dict.fromkeys(names), key="verbosity".__eq__)
