"""Converts between a job's options as JSON and an argument list, which the command's own parser validates.

Options are keyed by argparse ``dest``; null means not given. A flag is true or false (or its constant), a
counted flag is a number, and options with ``nargs``, ``append`` or ``extend`` take a list. For an option with
``nargs="?"``, true means the option without its value. A subcommand's options are at the same level as its
name.

Guarantees: argparse reads what ``to_argv`` writes as exactly the same options; otherwise ``to_argv`` raises
``OptionsError``, whose text is for the operator. Nothing here prints, exits, opens a file named by a value,
or uses the database or the clock, except ``parsing_strictly``, which is for executing a job. Parsers are left
unmodified.
"""

from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from jobledger.conf import settings
from jobledger.jobs import json_text
from jobledger.jobs.options import argparse_internals, argument_list, validation
from jobledger.jobs.options.argparse_internals import (
    Kind,
    actions_of,
    all_parsers,
    is_own_action,
    kind_of,
    subcommands_of,
)
from jobledger.jobs.options.argument_list import Occurrence
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.parser import BASE_OPTIONS, options_of
from jobledger.jobs.options.values import differs_from_default, to_json, to_occurrences, to_value

__all__ = [
    "JsonObject",
    "OptionsError",
    "check_bounds",
    "from_argv",
    "from_namespace",
    "given_on_command_line",
    "option_names",
    "options_for_worker",
    "parsing_strictly",
    "to_argv",
    "validate_options",
]

JsonObject = Mapping[str, Any]
"""A job's options, keyed by argparse ``dest``."""


def option_names(parser: ArgumentParser) -> list[str]:
    """The valid keys, including those of subcommands, in the parser's order."""
    action = _subcommand_action(parser)
    below = _names_below(action) if action and action.dest != SUPPRESS else []
    return _verbosity_last([*options_of(parser), *below])


def check_bounds(value: Any, what: str = "the options") -> None:
    """Raise OptionsError if options, or a task's arguments, are too large or too deep to be stored.

    Also if they were read from a row in which something else is stored.
    """
    if problem := json_text.problem_with(value):
        raise OptionsError(f"{what}: {problem}")
    try:
        json_text.check_bounds(value, settings.RUN_OPTIONS_LIMIT_BYTES)
    except ValueError as error:
        raise OptionsError(f"{what}: {error} (RUN_OPTIONS_LIMIT_BYTES)") from error


def validate_options(parser: ArgumentParser, options: JsonObject) -> Namespace:
    """What the command would receive. Raises OptionsError with the parser's message for invalid options.

    Has no effect. Values that only a worker can validate are accepted, and returned as they are; see
    ``options_for_worker``.
    """
    check_bounds(options)
    return validation.validate(parser, to_argv(parser, options))


def options_for_worker(parser: ArgumentParser, options: JsonObject) -> dict[str, str]:
    """Which of these options only a worker can validate, by ``dest``, and why. Raises OptionsError."""
    return validation.worker_only(parser, to_argv(parser, options))


def to_argv(parser: ArgumentParser, options: JsonObject) -> list[str]:
    """The options as an argument list. Checks names and shapes, and leaves the values to the parser."""
    _reject_unknown(parser, options)
    return _argv_of(parser, {dest: value for dest, value in options.items() if value is not None})


def from_argv(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """The options given by a valid argument list, without defaults.

    Values are numbers where the parser expects ``int`` or ``float``, otherwise strings as written.
    Raises OptionsError, also for a list that ``to_argv`` could not reproduce.
    """
    options = _options_in(parser, argv)
    validation.validate(parser, argv)
    to_argv(parser, options)
    return options


def given_on_command_line(
    parser: ArgumentParser, argv: Sequence[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that a command received, as ``from_namespace``; ``argv`` is the list they were parsed from.

    Where the value cannot be converted to the same text again, it is taken from the list. Never raises.
    """
    options = from_namespace(parser, values)
    try:
        written = _options_in(parser, argv, skip_base_options=True)
        for dest in _dests_as_written(parser):
            options.pop(dest, None)
            if dest in written:
                options[dest] = written[dest]
    except OptionsError:  # such as an arguments file
        return options
    return options


def _dests_as_written(parser: ArgumentParser) -> set[str]:
    """Options whose text cannot be made from what the command received."""
    return {
        action.dest
        for each in all_parsers(parser)
        for action in actions_of(each)
        if not is_own_action(action) or validation.why_worker_only(each, action)
    }


def parsing_strictly(command: BaseCommand, own_parser: CommandParser | None = None) -> BaseCommand:
    """Let the command's parser raise OptionsError, with all that it would print, the next time it parses.

    So ``call_command`` parses once, and a wrong option is told apart from an error of the command. It is
    ``own_parser``, if the command has created that already.
    """
    create_parser = command.create_parser

    def create_strict_parser(*args: Any, **kwargs: Any) -> CommandParser:
        del vars(command)["create_parser"]
        parser = own_parser or create_parser(*args, **kwargs)

        def parse_strictly(args: Sequence[str]) -> Namespace:
            # Only once. Otherwise, the parser would refer to itself for good.
            vars(parser).pop("parse_args", None)
            return argument_list.parse(parser, args)

        vars(parser)["parse_args"] = parse_strictly
        argparse_internals.free_when_unused(parser)
        return parser

    vars(command)["create_parser"] = create_strict_parser
    return command


def from_namespace(parser: ArgumentParser, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a command received, without those equal to their defaults.

    Never raises: a value that no option can produce is kept as a string.
    """
    options = {
        dest: to_json(option, values[dest])
        for dest, option in options_of(parser).items()
        if dest in values and differs_from_default(option, values[dest])
    }
    try:
        chosen = _chosen(parser, options)
    except OptionsError:
        return options
    return options | from_namespace(chosen.parser, values) if chosen else options


def _argv_of(parser: ArgumentParser, options: JsonObject) -> list[str]:
    chosen = _chosen(parser, options)
    below = _names_beside(chosen.parser, options) if chosen else []
    occurrences: list[Occurrence] = []
    for dest, option in options_of(parser).items():
        if chosen and option.kind is Kind.SUBCOMMAND:
            words = (chosen.name, *_argv_of(chosen.parser, options))
            occurrences.append(Occurrence(action=option.actions[0], flag=None, words=words))
        elif dest in options and dest not in below:
            occurrences += to_occurrences(option, options[dest])
    return argument_list.write(parser, occurrences)


def _options_in(
    parser: ArgumentParser, argv: Sequence[str], *, skip_base_options: bool = False
) -> dict[str, Any]:
    occurrences = argument_list.read(parser, argv)
    if not skip_base_options:
        _reject_non_options(parser, occurrences)
    options: dict[str, Any] = {}
    for option in options_of(parser).values():
        own = [occurrence for occurrence in occurrences if occurrence.action in option.actions]
        if own and option.kind is not Kind.SUBCOMMAND:
            options[option.dest] = to_value(option, own)
    for occurrence in occurrences:
        if subcommands_of(occurrence.action):
            return options | _options_below(parser, occurrence, options)
    return options


def _options_below(parser: ArgumentParser, subcommand: Occurrence, above: JsonObject) -> dict[str, Any]:
    named = {subcommand.action.dest: subcommand.words[0]}
    chosen = _chosen(parser, named)
    if chosen is None:
        return {}
    below = _options_in(chosen.parser, subcommand.words[1:])
    for dest in _names_beside(chosen.parser, below):
        if dest in above:
            text = f"{dest}: must come after {chosen.name!r}, which also has this option"
            raise OptionsError(text, dest=dest)
    return named | below


def _reject_non_options(parser: ArgumentParser, occurrences: Sequence[Occurrence]) -> None:
    actions = [action for option in options_of(parser).values() for action in option.actions]
    for occurrence in occurrences:
        if occurrence.action not in actions:
            why = _why_not_an_option(parser, occurrence.action.dest)
            raise OptionsError(f"{occurrence.flag or occurrence.words[0]}: {why}")


def _reject_unknown(parser: ArgumentParser, options: JsonObject) -> None:
    valid = _names_beside(parser, options)
    for key in options:
        if key not in valid:
            why = _why_not_an_option(parser, key)
            text = f"{key}: {why}; valid options are: {', '.join(valid) or 'none'}"
            raise OptionsError(text, dest=key)


def _why_not_an_option(parser: ArgumentParser, dest: str) -> str:
    if dest in BASE_OPTIONS:
        return "is an option of manage.py itself, not of the job"
    action = _subcommand_action(parser)
    if action and dest in {SUPPRESS, *_names_below(action)}:
        if action.dest == SUPPRESS:
            return "needs a subcommand, but add_subparsers() was called without dest, so none can be chosen"
        return f"belongs to a different {action.dest}"
    if dest in options_of(parser):
        return f"shares its dest, {dest}, with an option of another kind"
    return "no such option"


# Subcommands


@dataclass(frozen=True, kw_only=True)
class _Subcommand:
    name: str
    parser: ArgumentParser


def _subcommand_action(parser: ArgumentParser) -> Action | None:
    return next((action for action in actions_of(parser) if kind_of(action) is Kind.SUBCOMMAND), None)


def _chosen(parser: ArgumentParser, options: JsonObject) -> _Subcommand | None:
    action = _subcommand_action(parser)
    if action is None or options.get(action.dest) is None:
        return None
    name, parsers = options[action.dest], subcommands_of(action)
    if not isinstance(name, str) or name not in parsers:
        text = f"{action.dest}: expected one of: {', '.join(parsers)}; not {name!r}"
        raise OptionsError(text, dest=action.dest)
    return _Subcommand(name=name, parser=parsers[name])


def _names_beside(parser: ArgumentParser, options: JsonObject) -> list[str]:
    """The keys that are valid together with the subcommand that these options choose."""
    chosen = _chosen(parser, options)
    below = _names_beside(chosen.parser, options) if chosen else []
    return _verbosity_last([*options_of(parser), *below])


def _names_below(action: Action) -> list[str]:
    return [name for parser in subcommands_of(action).values() for name in option_names(parser)]


def _verbosity_last(names: Sequence[str]) -> list[str]:
    return sorted(dict.fromkeys(names), key="verbosity".__eq__)
