"""Schedules as systemd's timers and services."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC

from jobledger import formats
from jobledger.exporting.schedules import Export, NotExpressibleError
from jobledger.schedules.rules.cron_expression import parse
from jobledger.schedules.stored_times import ClockedTimes

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12))
_SAFE = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
_ESCAPES = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\t": r"\t", "%": "%%", "$": "$$"}
_MAX_NAME_LENGTH = 80


def units(
    export: Export, name: str, launcher: Sequence[str], service: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """The names and the texts of its timer and its service. Raises NotExpressibleError."""
    delay = export.jitter.total_seconds()
    timer = [
        *(("OnCalendar", time) for time in calendar(export)),
        ("AccuracySec", "1s"),
        ("Persistent", str(export.catches_up).lower()),
        *([("RandomizedDelaySec", f"{delay:g}"), ("FixedRandomDelay", "true")] if delay else []),
    ]
    description = [("Description", _escaped(" ".join(export.name.split()), {"%": "%%", "\\": r"\\"}))]
    command = " ".join(map(_word, [*launcher, *export.arguments]))
    yield (
        f"{name}.timer",
        _unit(Unit=description, Timer=timer, Install=[("WantedBy", "timers.target")]),
    )
    yield (
        f"{name}.service",
        _unit(
            Unit=description,
            Service=[("Type", "oneshot"), *service.items(), *_timeout(export), ("ExecStart", command)],
        ),
    )


def _timeout(export: Export) -> Iterator[tuple[str, str]]:
    """For systemd, the whole of a oneshot service is its start: RuntimeMaxSec has no effect on it."""
    if export.time_limit is None:
        return
    yield "TimeoutStartSec", f"{formats.plain_seconds(export.time_limit)}s"
    if export.grace:
        yield "TimeoutStopSec", f"{formats.plain_seconds(export.grace)}s"
    else:
        yield "TimeoutStartFailureMode", "kill"


def names(exports: Iterable[Export]) -> list[str]:
    """A name for the units of each, which is unique among them."""
    found: list[str] = []
    for export in exports:
        slug = re.sub(r"[^a-z0-9]+", "-", export.name.lower()).strip("-")[:_MAX_NAME_LENGTH]
        name, number = f"job-{slug or 'schedule'}", 1
        while name in found:
            number += 1
            name = f"job-{slug or 'schedule'}-{number}"
        found.append(name)
    return found


def escaped_path(path: str) -> str:
    """A path as the value of a setting."""
    return path.replace("%", "%%")


def calendar(export: Export) -> Iterator[str]:
    """The values of ``OnCalendar=``: two, if cron would take either of two kinds of days."""
    times = export.times
    if isinstance(times, ClockedTimes):
        yield f"{times.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return
    parsed = parse(times.expression)
    minute, hour, days, month, weekdays = parsed.canonical.split()
    clock = f"{_field(hour, 1)}:{_field(minute, 0)}:00 {times.zone}"
    by_date = [f"*-{_field(month, 3)}{date}" for date in _dates(days)]
    by_weekday = [f"{names} *-{_field(month, 3)}{date}" for names, date in _weekdays(weekdays)]
    written = parsed.fields.split()
    if weekdays == "*":
        dates = by_date
    elif days == "*":
        dates = by_weekday
    elif written[2].startswith("*") or written[4].startswith("*"):
        # Cron then takes the days that are both.
        dates = [
            f"{names} *-{_field(month, 3)}{date}"
            for names, _ in _plain_weekdays(weekdays)
            for date in _dates(days)
        ]
    else:
        dates = [*by_date, *by_weekday]
    yield from (f"{date} {clock}" for date in dates)


def _dates(days: str) -> Iterator[str]:
    terms = days.split(",")
    if "LW" in terms:
        raise NotExpressibleError("systemd does not know the last weekday of a month (LW)")
    if "L" in terms:
        yield "~01"
    if plain := [term for term in terms if term != "L"]:
        yield f"-{_field(','.join(plain), 2)}"


def _weekdays(weekdays: str) -> Iterator[tuple[str, str]]:
    """Names of weekdays, and on which days of the month they count."""
    plain = []
    for term in weekdays.split(","):
        number, sharp, nth = term.partition("#")
        if sharp:
            last = int(nth) * 7
            yield _WEEKDAYS[int(number) % 7], f"-{last - 6:02}..{min(last, 31):02}"
        elif term.endswith("L"):
            yield _WEEKDAYS[int(term[:-1]) % 7], "~07/1"
        else:
            plain.append(term)
    if plain:
        yield _names(plain), "-*"


def _plain_weekdays(weekdays: str) -> Iterator[tuple[str, str]]:
    found = list(_weekdays(weekdays))
    if any(date != "-*" for _, date in found):
        raise NotExpressibleError("systemd cannot combine such a weekday with days of the month")
    return iter(found)


def _names(terms: Sequence[str]) -> str:
    numbers = {number % 7 for term in terms for number in _numbers(term)}
    return ",".join(_WEEKDAYS[number] for number in sorted(numbers, key=lambda number: (number - 1) % 7))


def _numbers(term: str) -> range:
    span, _, step = term.partition("/")
    first, _, last = ("0", "", "6") if span == "*" else span.partition("-")
    return range(int(first), int(last or first) + 1, int(step or 1))


def _field(text: str, index: int) -> str:
    """A field of an expression in plain numbers, as systemd writes it."""
    return ",".join(_term(term, *_LIMITS[index]) for term in text.split(","))


def _term(term: str, lowest: int, highest: int) -> str:
    span, slash, step = term.partition("/")
    if span == "*":
        # Without its end, systemd 252 leaves out midnight on the first of a month.
        return f"{lowest:02}..{highest}/{step}" if slash else "*"
    return "..".join(f"{int(number):02}" for number in span.split("-")) + f"{slash}{step}"


def _unit(**sections: Iterable[tuple[str, str]]) -> str:
    texts = (
        "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in settings), ""])
        for name, settings in sections.items()
    )
    return "\n".join(texts)


def _word(word: str) -> str:
    """A word of ``ExecStart=``."""
    return word if _SAFE.fullmatch(word) else f'"{_escaped(word, _ESCAPES)}"'


def _escaped(text: str, escapes: Mapping[str, str]) -> str:
    return "".join(escapes.get(character) or _control(character) for character in text)


def _control(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 0x20 or ord(character) == 0x7F else character
