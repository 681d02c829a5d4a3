"""Schedules as a crontab."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from jobledger import formats
from jobledger.crontab.wrapping import MAX_COMMAND_BYTES
from jobledger.escapes import escaped
from jobledger.exporting.schedules import Export, NotExpressibleError
from jobledger.schedules.rules.cron_expression import parse
from jobledger.schedules.stored_times import ClockedTimes


def crontab(lines: Iterable[tuple[Export, str]], environment: Mapping[str, str]) -> str:
    """A crontab, from exports and their ``line_of``."""
    return "".join(f"{line}\n" for line in _lines(lines, environment))


def _lines(lines: Iterable[tuple[Export, str]], environment: Mapping[str, str]) -> Iterator[str]:
    yield "# Exported by `manage.py jobledger export_crontab`."
    yield from (f"{name}={value}" for name, value in environment.items())
    by_zone = sorted(lines, key=lambda each: (zone_of(each[0]), each[0].name))
    for zone, group in groupby(by_zone, key=lambda each: zone_of(each[0])):
        yield ""
        yield f"CRON_TZ={zone}"
        for export, line in group:
            yield f"# {escaped(' '.join(export.name.split()))}"
            yield line if export.enabled else f"#disabled# {line}"


def line_of(export: Export, launcher: list[str]) -> str:
    """The line that starts it. Raises NotExpressibleError."""
    if isinstance(export.times, ClockedTimes):
        raise NotExpressibleError("it runs only once, and a crontab has no years")
    command = shlex.join([*_timeout(export), *launcher, *export.arguments])
    if escaped(command) != command:
        raise NotExpressibleError("an option contains a line break or another control character")
    command = _for_cron(command)
    if (size := len(command.encode())) > MAX_COMMAND_BYTES:
        raise NotExpressibleError(
            f"its command is {size} bytes long, and cron cuts off what is longer than 998"
        )
    return f"{_expression(export)} {command}"


def _timeout(export: Export) -> list[str]:
    if export.time_limit is None:
        return []
    limit, grace = (formats.plain_seconds(each) for each in (export.time_limit, export.grace))
    return ["timeout", *(["-k", grace] if export.grace else ["-s", "KILL"]), limit]


def lost(export: Export) -> Iterator[str]:
    """What cron cannot express of it, besides ``notes``."""
    if export.jitter:
        yield "its jitter"
    if export.catches_up:
        yield "that a missed run is caught up"


def _expression(export: Export) -> str:
    if isinstance(export.times, ClockedTimes):
        raise TypeError(export.times)
    expression = parse(export.times.expression).canonical
    if {"L", "#"} & set(expression):
        raise NotExpressibleError(f"cron knows neither L nor #: {export.times.expression}")
    return expression


def zone_of(export: Export) -> str:
    """The name of the zone that its times are in."""
    return "" if isinstance(export.times, ClockedTimes) else str(export.times.zone)


def _for_cron(command: str) -> str:
    """With percent signs escaped.

    Some crons read two backslashes as one, so there are empty quotes between them. Only words in single
    quotes contain backslashes.
    """
    parts, previous = list[str](), ""
    for character in command:
        if previous == "\\" and character in "\\%":
            parts.append("''")
        parts.append(r"\%" if character == "%" else character)
        previous = character
    return "".join(parts)
