"""Where Debian's cron would not fire a line, and where its fields do not mean what they seem to.

The fields are validated by ``cron_expression``, which accepts more than Debian's cron does.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from jobledger.crontab.lines import CARRIAGE_RETURN, Entry, Line, Variable
from jobledger.schedules.rules.cron_expression import MACROS
from jobledger.schedules.rules.cron_words import listed
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.wallclock import zone_named

ZONE_VARIABLES = ("CRON_TZ", "TZ")
MAX_COMMAND_BYTES = 998
"""Debian's cron refuses a longer command."""

_NAME = re.compile(r"[a-z]+")
_RANGE = re.compile(r"([0-9]+|[a-z]+)-([0-9]+|[a-z]+)")
_NTH = re.compile(r"([0-9a-z]+)#[0-9]")
_LAST = re.compile(r"lw?|[0-9]l|[a-z]{3,}l")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBERS = {
    name: number for names, first in ((_MONTHS, 1), (_DAYS, 0)) for number, name in enumerate(names, first)
}
"""The names that Debian's cron knows."""
_READERS = {"CRON_TZ": "; cronie reads it", "TZ": ", and only the commands see it"}


def zone_of(entry: Entry) -> tuple[str, str] | None:
    """The variable that names the line's time zone, and its value; None if there is none."""
    for name in ZONE_VARIABLES:
        if value := entry.variables.get(name):
            return name, value
    return None


def differences(entry: Entry) -> Iterator[str]:
    """What Debian's cron does with a line that is valid here, if that is something else."""
    time = entry.time.lower()
    if time in MACROS and entry.time != time:
        yield f"Debian's cron knows {time} only in lower case, and refuses a crontab with {entry.time!r}"
    for field in MACROS.get(time, time).split():
        yield from filter(None, map(_difference_of_term, field.split(",")))
    if len(entry.command.encode("utf-8", "surrogateescape")) > MAX_COMMAND_BYTES:
        yield f"Debian's cron refuses a crontab with a command of more than {MAX_COMMAND_BYTES} bytes"


def surprises_of_file(lines: Sequence[Line]) -> Iterator[str]:
    """What Debian's cron does with the file that its author may not expect."""
    yield from refusals_of_file(lines)
    for line in lines:
        if isinstance(line, Variable) and line.name == "PATH" and "$" in line.value:
            yield f"Line {line.number} does not extend PATH: cron does not expand variables in values."
        if isinstance(line, Variable) and line.name in ZONE_VARIABLES and _is_zone(line.value):
            yield (
                f"Line {line.number} sets {line.name}: the lines below it are imported in that zone. "
                f"Debian's cron fires them by the machine's own clock all the same{_READERS[line.name]}."
            )


def refusals_of_file(lines: Sequence[Line]) -> Iterator[str]:
    """What keeps Debian's cron from firing any line of the file."""
    if lines and not lines[-1].ending:
        yield (
            f"Line {lines[-1].number} does not end with a newline: Debian's cron ignores the whole crontab, "
            "and `crontab` does not install it."
        )
    if with_returns := [line.number for line in lines if line.ending.startswith(CARRIAGE_RETURN)]:
        yield (
            f"{_numbered(with_returns)} with a carriage return (Windows): cron passes it on as part of "
            "the command, and refuses a crontab with a blank line of that kind."
        )
    for line in lines:
        if isinstance(line, Variable) and not line.value and line.text.rstrip().endswith("="):
            yield f'Line {line.number} needs quotes, {line.name}="": Debian\'s cron refuses the crontab.'


def _is_zone(name: str) -> bool:
    try:
        zone_named(name)
    except RuleError:
        return False
    return True


def _difference_of_term(term: str) -> str:
    if nth := _NTH.fullmatch(term):
        return f"Debian's cron ignores what follows the # in {term!r}, and fires it every {nth[1]}"
    if _LAST.fullmatch(term):
        return f"Debian's cron does not know {term!r}, and refuses a crontab that contains it"
    for name in _NAME.findall(term):
        if name not in _NUMBERS:
            return f"Debian's cron knows only names of three letters, and refuses a crontab with {name!r}"
    if (found := _RANGE.fullmatch(term.partition("/")[0])) and _number(found[1]) > _number(found[2]):
        return f"Debian's cron accepts a range that wraps around ({term}), but never fires it"
    return ""


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text]


def _numbered(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"Line {numbers[0]} ends"
    ranges = f"{numbers[0]} to {numbers[-1]}" if all(b - a == 1 for a, b in pairwise(numbers)) else ""
    return f"Lines {ranges or listed([str(number) for number in numbers[:8]])} end"
