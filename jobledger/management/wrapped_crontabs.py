"""Prints crontabs whose commands are wrapped, or are so no longer."""

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError

from jobledger.crontab import timing, user_column, wrapping
from jobledger.crontab.lines import REBOOT, Entry, Invalid, parse
from jobledger.crontab.lines import Line as AnyLine
from jobledger.crontab.targets import masked
from jobledger.escapes import escaped
from jobledger.management import callers, printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.schedules.rules.cron_expression import parse as parse_time
from jobledger.schedules.rules.slots import RuleError
from jobledger.wrap import naming
from jobledger.wrap.line import Line


def print_rewritten(command: OperatorCommand, text: str, options: Mapping[str, Any]) -> None:
    """Print the crontab on stdout, and what has changed on stderr.

    Prints nothing and raises CommandError if a line would lose its user, or have its command taken for one.
    """
    lines = parse(text, is_system=options["system"])
    _check_user_column(command, lines, is_system=options["system"])
    if options["wrap"]:
        done = wrapping.wrap(text, launcher(), is_system=options["system"])
    else:
        done = wrapping.unwrap(text, is_system=options["system"])
    printing.write_exactly(command.stdout, done.text)
    for warning in _warnings(lines):
        command.warn(warning)
    for left in done.left:
        command.warn(f"line {left.number} is left as it is: {left.reason}")
    if options["wrap"]:
        for name, numbers in _same_names(done.changed):
            command.warn(f"lines {numbers} are recorded as {name!r}: `wrap --name NAME` tells them apart")
    verb = "wrapped" if options["wrap"] else "unwrapped"
    count = len(done.changed)
    command.remark(f"{count} {'line is' if count == 1 else 'lines are'} {verb}.")


def _check_user_column(command: OperatorCommand, lines: Sequence[AnyLine], *, is_system: bool) -> None:
    problems = user_column.problems_of(lines, is_system=is_system)
    for number, problem in problems.items():
        command.warn(escaped(masked(f"line {number}: {problem}")))
    if problems:
        raise CommandError(f"Nothing is printed. Correct these lines: {', '.join(map(str, problems))}")


def _warnings(lines: Sequence[AnyLine]) -> Iterator[str]:
    """What cron does not accept in the crontab, wrapped or not."""
    yield from timing.refusals_of_file(lines)
    for line in lines:
        if problem := _problem(line):
            yield escaped(masked(f"line {line.number}: {problem}"))


def _problem(line: AnyLine) -> str:
    if isinstance(line, Invalid):
        return line.problem
    if isinstance(line, Entry) and line.time.lower() != REBOOT:
        try:
            parse_time(line.time)
        except RuleError as error:
            return str(error)
    return ""


def launcher() -> str:
    """What runs ``jobledger wrap`` from anywhere."""
    manage = callers.manage_py()
    other = ["--settings", module] if (module := callers.other_settings(manage)) else []
    return shlex.join([sys.executable, str(manage), "jobledger", "wrap", *other, "--"])


def _same_names(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """The names that several lines would have that are no calls of ``manage.py``, and their numbers."""
    names = {entry.number: _own_name(entry) for entry in entries}
    several = [name for name, count in Counter(names.values()).items() if name and count > 1]
    return [
        (name, ", ".join(str(number) for number, each in names.items() if each == name)) for name in several
    ]


def _own_name(entry: Entry) -> str:
    line = Line(words=[entry.shell_command], options={})
    return "" if naming.call_in(line, entry.variables) else naming.name_of(line)
