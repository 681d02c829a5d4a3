"""The arguments that all jobs have: Django's, such as ``--verbosity``, and ours, such as ``--wait``.

A worker creates a job's parser for each run, since a job's own arguments may differ from one time to the
next: a default such as ``date.today()``, for example. To make those that do not differ took most of that
time. So they are made once, and copied.
"""

import os
from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Callable
from functools import cache, partial
from shutil import get_terminal_size

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from jobledger.jobs.options import argparse_internals
from jobledger.jobs.options.parser import OVERLAP_OPTIONS, option_strings

_SKIP_CHECKS = "--skip-checks"
_OWN: dict[str, tuple[str, str]] = {
    # It may be in a crontab, and Django does not add it for a command without checks.
    _SKIP_CHECKS: ("skip_checks", SUPPRESS),
    "--wait": (OVERLAP_OPTIONS[0], "If the job is already running, wait until it has finished."),
    "--allow-overlap": (OVERLAP_OPTIONS[1], "Run even if the job is running."),
}


def is_usual(create_parser: Callable[..., CommandParser]) -> bool:
    """Whether this method of a command is Django's own, and so are those that it calls for its arguments."""
    command = getattr(create_parser, "__self__", None)
    own = getattr(command, "add_base_argument", None), getattr(command, "get_version", None)
    djangos = BaseCommand.create_parser, BaseCommand.add_base_argument, BaseCommand.get_version
    return tuple(getattr(each, "__func__", None) for each in (create_parser, *own)) == djangos


def formatter_class() -> Callable[..., DjangoHelpFormatter]:
    """Formats help for the terminal's width as it is now; the class itself would look it up each time."""
    return partial(DjangoHelpFormatter, width=get_terminal_size().columns - 2)


def made_for(command: BaseCommand, prog_name: str, subcommand: str) -> CommandParser:
    """What Django's ``create_parser`` returns, before the command adds arguments of its own.

    It raises errors, as for any command that is not called on the command line.
    """
    suppressed = frozenset(command.suppressed_base_arguments)
    made = _made(bool(command.requires_system_checks), suppressed, os.environ.get("DJANGO_COLORS"))
    parser = argparse_internals.copied(made)
    parser.formatter_class = formatter_class()
    parser.prog = f"{os.path.basename(prog_name)} {subcommand}"  # noqa: PTH119 - as Django does
    parser.description = command.help or None
    vars(parser)["missing_args_message"] = getattr(command, "missing_args_message", None)
    return parser


def add_own_arguments(parser: ArgumentParser, *, skip_checks: bool) -> None:
    """Skip flags that the job itself defines, or that abbreviate one of its own."""
    strings = option_strings(parser)
    for flag, action in _own_arguments().items():
        if flag == _SKIP_CHECKS:
            is_added = skip_checks and flag not in strings
        else:
            is_added = not any(string.startswith(flag) for string in strings)
        if is_added:
            argparse_internals.add_made(parser, argparse_internals.copied_action(action))


@cache
def _made(has_checks: bool, suppressed: frozenset[str], colors: str | None) -> CommandParser:  # noqa: FBT001 - cached
    """``colors`` is what Django looks up in the environment."""
    command = BaseCommand()
    command.requires_system_checks = "__all__" if has_checks else ()
    command.suppressed_base_arguments = {*suppressed}
    return command.create_parser("", "", formatter_class=formatter_class())


@cache
def _own_arguments() -> dict[str, Action]:
    parser = ArgumentParser(add_help=False)
    return {
        flag: parser.add_argument(flag, dest=dest, action="store_true", help=text)
        for flag, (dest, text) in _OWN.items()
    }
