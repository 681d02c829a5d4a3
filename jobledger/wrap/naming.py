"""Names the run of a wrapped line: by the management command in which the line ends, if it does.

Then the run has the command's options as well, and so belongs to the history of a schedule that is imported
later. Any other line is named by ``--name``, or else by its program.
"""

import os
import re
from collections.abc import Mapping, Sequence
from itertools import dropwhile
from posixpath import basename
from typing import Any
from uuid import UUID, uuid5

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from jobledger.crontab.calls import DJANGO_ADMIN, PYTHON, Call, find_call
from jobledger.crontab.lines import Entry
from jobledger.crontab.shell import Kind, ShellError, Word
from jobledger.crontab.syntax import Command, Group, Simple, script_of
from jobledger.crontab.wrappers import NotUnderstoodError, unwrap
from jobledger.jobs import options, registry
from jobledger.jobs.options import argument_list
from jobledger.jobs.options.parser import RESERVED_OPTIONS
from jobledger.wrap import enclosing
from jobledger.wrap.line import Line

NAMESPACE = UUID("0c0f6c06-5f0a-4f0e-9b07-8f2f0c7d9a4e")
UNKNOWN = "crontab"
"""The name of a line whose program cannot be told."""
_MANAGE = DJANGO_ADMIN | {"manage.py"}
_IS_OPTION = re.compile("-").match
_PASSED_OVER = frozenset(
    {
        ".",
        ":",
        "[",
        "cd",
        "echo",
        "exit",
        "export",
        "false",
        "set",
        "sleep",
        "source",
        "true",
        "ulimit",
        "umask",
    }
)


def run_id_of(relay: enclosing.Process) -> UUID:
    """The id of the run of a wrapped line: always the same, whoever creates it."""
    return uuid5(NAMESPACE, enclosing.identity_of(relay))


def name_of(line: Line) -> str:
    """The job's name for the run."""
    call = call_in(line)
    if call is not None:
        return call.command
    return line.options.get("--name") or basename(next(iter(_last_words(line.text)), "")) or UNKNOWN


def options_of(line: Line) -> dict[str, Any]:
    """The options of the management command; none if the line is not one that this project has."""
    call = call_in(line)
    try:
        return _options(call) if call is not None else {}
    except (Exception, SystemExit):  # noqa: BLE001 - code of the command; the line itself will tell what is wrong
        return {}


def call_in(line: Line, variables: Mapping[str, str] = os.environ) -> Call | None:
    """The call of ``manage.py`` in which the line ends, if it does."""
    # Cron has removed the backslashes, and without them, a percent sign would begin the input.
    command = line.text.replace("%", r"\%")
    entry = Entry(
        number=1, source=command, time="", user=None, before="", command=command, variables=dict(variables)
    )
    try:
        return find_call(entry)
    except NotUnderstoodError:
        # It may do something else as well, which matters to an import only.
        return _call(_last_words(line.text))


def _options(call: Call) -> dict[str, Any]:
    command = _load(call.command)
    if command is None:
        return {}
    parser = command.create_parser("manage.py", call.command)
    given = argument_list.read(parser, call.arguments)
    own = [each for each in given if each.action.dest not in RESERVED_OPTIONS]
    return options.from_argv(parser, argument_list.write(parser, own))


def _load(name: str) -> BaseCommand | None:
    if (job := registry.all_jobs().get(name)) is not None:
        return job.create_command()
    app = get_commands().get(name)
    return load_command_class(app, name) if isinstance(app, str) else app


def _call(words: Sequence[str]) -> Call | None:
    """The call in the words of a command, behind what may come before it."""
    while words and PYTHON.fullmatch(basename(words[0])):
        words = list(dropwhile(_IS_OPTION, words[1:]))
    if len(words) < 2 or basename(words[0]) not in _MANAGE or _IS_OPTION(words[1]):
        return None
    return Call(command=words[1], arguments=tuple(words[2:]))


def _last_words(text: str) -> Sequence[str]:
    """The words of the last command of a list that is not only there for the others."""
    try:
        pipelines = script_of(text).pipelines
    except ShellError:
        return []
    found = [words for pipeline in pipelines if (words := _words(pipeline.commands[0]))]
    last_first = [*reversed(found), []]
    return next((words for words in last_first if words and words[0] not in _PASSED_OVER), last_first[0])


def _words(command: Command) -> Sequence[str]:
    match command:
        case Group(script=script):
            return _words(script.pipelines[-1].commands[0]) if script.pipelines else []
        case Simple(words=words):
            return _behind_wrappers([_text(word) for word in words])


def _text(word: Word) -> str:
    """Its text; empty if the shell computes any of it."""
    is_known = all(part.kind is Kind.TEXT for part in word.parts)
    return "".join(part.text for part in word.parts) if is_known else ""


def _behind_wrappers(words: Sequence[str]) -> Sequence[str]:
    while words:
        try:
            unwrapped = unwrap(basename(words[0]), words[1:])
        except NotUnderstoodError:
            return words
        if unwrapped is None:
            return words
        if unwrapped.effect.script is not None:
            return _last_words(unwrapped.effect.script)
        words = words[len(words) - unwrapped.count :] if unwrapped.count else []
    return []
