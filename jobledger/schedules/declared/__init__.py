"""Schedules declared in code: by a job, in ``schedules``, or in ``JOBLEDGER["SCHEDULES"]``.

They are kept in the database, where users edit them too. ``sync`` merges both three ways: the code, what is
stored, and the baseline, which is what the code said when it was last applied. This module knows what is
declared and whether it is valid; it runs no query.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django_celery_beat.models import PeriodicTask

from jobledger.conf import settings as settings_of_service
from jobledger.escapes import escaped
from jobledger.jobs import json_text, options, registry, secrets
from jobledger.jobs.declaration import (
    MAX_CATCH_UP,
    MAX_TIME_LIMIT,
    Calendars,
    Concurrency,
    LeftOutSlots,
    Misfire,
    Schedule,
    SolarEvent,
)
from jobledger.runs.publishing import delivery
from jobledger.schedules import stored_times
from jobledger.schedules.chains.cycles import cycle_in, path_of
from jobledger.schedules.declared.calendars import calendar_problems, declared_calendars
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.wallclock import EARLIEST, to_utc, zone_named
from jobledger.schedules.stored_times import (
    ChainTimes,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)

SECOND, NOTHING = timedelta(seconds=1), timedelta(0)
MAX_LENGTH = PeriodicTask._meta.get_field("name").max_length
TIMING_HINT = (
    'Examples: Schedule("30 3 * * mon-fri"), Schedule("@daily"), Schedule(every=timedelta(hours=2)).'
)
UNIQUE_HINT = "Give each schedule a unique name: Schedule(…, name=…)."
_TIMINGS = ("cron", "every", "at", "solar")
_SETTING = 'JOBLEDGER["SCHEDULES"]'


class DeclarationError(ValueError):
    """Declared schedules that are not valid; the message names each, with its job, field and fix."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong with a declared schedule."""

    text: str
    """Names the field."""
    hint: str = ""
    is_of_job: bool = False
    """Whether the job is broken. That must not keep other jobs' schedules from being applied."""

    def __str__(self) -> str:
        return f"{self.text}. {self.hint}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A schedule as a job, or the settings, declare it."""

    job: registry.Job
    schedule: Schedule
    is_in_settings: bool = False
    """Whether the settings declare it, and not the job itself."""

    @property
    def name(self) -> str:
        """What identifies the declaration, and the schedule's first name in the database."""
        return self.schedule.name or self.job.name

    @property
    def is_enabled_here(self) -> bool:
        """Whether it is enabled in this environment."""
        only_in = self.schedule.only_in
        return self.schedule.enabled and (not only_in or settings_of_service.ENVIRONMENT in only_in)

    @property
    def description(self) -> str:
        text = self.job.help if self.schedule.description is None else self.schedule.description
        return str(text)

    def times(self) -> StoredTimes:
        """When it is due. Raises RuleError if that cannot be evaluated."""
        times = _times(self.schedule)
        stored_times.validated(times, EARLIEST)
        return times


def all_declared() -> Iterator[Declared]:
    """Yield every declared schedule. Anything but a list of schedules is left to ``general_problems``."""
    for job in registry.all_jobs().values():
        declared: object = job.declaration.schedules
        own = [*declared] if isinstance(declared, list | tuple) else []
        if job.declaration.after:
            own.append(Schedule(after=job.declaration.after))
        in_settings = settings_of_service.SCHEDULES.get(job.name, ())
        for schedules, is_in_settings in (own, False), (in_settings, True):
            for schedule in schedules:
                if isinstance(schedule, Schedule):
                    yield Declared(job=job, schedule=schedule, is_in_settings=is_in_settings)


def by_name() -> dict[str, Declared]:
    return {each.name: each for each in all_declared()}


def naming_calendars() -> dict[str, Declared]:
    """The calendars that declared schedules name, each with one of these schedules."""
    return {
        name: one
        for one in all_declared()
        if _are_calendars(one.schedule.calendars)
        for name in (*one.schedule.calendars.not_on, *one.schedule.calendars.only_on)
    }


def missing_calendars(known: Iterable[str]) -> dict[str, Declared]:
    """The calendars that declared schedules name, and that are neither among these nor declared."""
    named = naming_calendars()
    return {name: named[name] for name in sorted(named.keys() - set(known) - declared_calendars().keys())}


def is_import_failing(name: str) -> bool:
    """Whether there may be a job of this name, whose module cannot be imported at the moment."""
    return any(failure.module.rpartition(".")[2] == name for failure in registry.import_failures())


def validated() -> list[Declared]:
    """Every declared schedule. Raises DeclarationError if anything that is declared is not valid."""
    found = list(all_declared())
    texts = [*map(str, general_problems())]
    if path := cycle():
        texts.append(f"after: schedules must not start after each other: {path}")
    for one in found:
        where = f"schedule {one.name!r} of job {one.job.name}"
        texts += [f"{where}: {each}" for each in problems(one) if not each.is_of_job]
    for name, count in Counter(each.name for each in found).items():
        if count > 1:
            jobs = ", ".join(each.job.name for each in found if each.name == name)
            texts.append(f"schedule {name!r} is declared {count} times (job {jobs}). {UNIQUE_HINT}")
    if texts:
        raise DeclarationError("; ".join(map(escaped, texts)))
    return found


def cycle() -> str:
    """The path of a cycle among the declared schedules; empty if there is none."""
    edges = {one.name: list(one.schedule.after) for one in all_declared() if _are_names(one.schedule.after)}
    return path_of(cycle_in(edges))


def general_problems() -> Iterator[Problem]:
    """What is wrong with lists of schedules."""
    expected = 'expected a list of schedules, such as [Schedule("0 3 * * *")]'
    for job in registry.all_jobs().values():
        value: Any = job.declaration.schedules
        if not isinstance(value, list | tuple) or not all(isinstance(each, Schedule) for each in value):
            yield Problem(text=f"schedules of job {job.name} is {value!r}; {expected}")
    yield from setting_problems()


def setting_problems() -> Iterator[Problem]:
    """What is wrong with ``JOBLEDGER["CALENDARS"]`` and ``JOBLEDGER["SCHEDULES"]``."""
    yield from (Problem(text=text) for text in calendar_problems())
    setting: Mapping[str, Any] = settings_of_service.SCHEDULES
    for name, schedules in setting.items():
        if name not in registry.all_jobs() and not is_import_failing(name):
            yield Problem(
                text=f"{_SETTING} names {name!r}, which is not a job",
                hint=registry.suggestion(name, registry.all_jobs())
                or "Add the command to EXPOSED_COMMANDS, or correct the name.",
            )
        for each in schedules:
            if not isinstance(each, Schedule):
                kind = type(each).__name__
                text = f"{_SETTING}[{name!r}] contains an object of type {kind}; expected a Schedule"
                yield Problem(text=text)


def problems(declared: Declared) -> Iterator[Problem]:
    """Yield what is wrong with the schedule. Runs no query."""
    schedule = declared.schedule
    for name, (is_valid, expected) in RULES.items():
        value = getattr(schedule, name)
        if not is_valid(value):
            yield Problem(text=f"{name} is {value!r}; expected {expected}")
    try:
        declared.times()
    except RuleError as error:
        yield Problem(text=_timing_problem(schedule, error), hint=TIMING_HINT)
    yield from _option_problems(declared)


def unknown_environments() -> Iterator[str]:
    """Yield a text for each environment that is named, but is not one of ``ENVIRONMENTS``.

    A wrong name would keep schedules disabled where they should run, without anyone noticing.
    """
    here, known = settings_of_service.ENVIRONMENT, set(settings_of_service.ENVIRONMENTS)
    limited = [one for one in all_declared() if one.schedule.only_in and _are_names(one.schedule.only_in)]
    if (limited or (here and known)) and here not in known:
        yield f'JOBLEDGER["ENVIRONMENT"] is {here!r}'
    for one in limited:
        for name in one.schedule.only_in:
            if name not in known:
                yield f"only_in of the schedule {one.name!r} of the job {one.job.name} names {name!r}"


def _option_problems(declared: Declared) -> Iterator[Problem]:
    given: Any = declared.schedule.options
    if not isinstance(given, Mapping):
        yield Problem(text=f'options is {given!r}; expected a dictionary, such as {{"days": 30}}')
        return
    hint = f"The options are the dests of its arguments: see `manage.py {declared.job.name} --help`."
    try:
        parser = declared.job.create_validating_parser()
    except options.OptionsError as error:
        yield Problem(text=f"options: {error}", is_of_job=True)
        return
    try:
        options.validate_options(parser, json_text.parse(json.dumps(dict(given))))
    except (options.OptionsError, ValueError, TypeError) as error:
        text = secrets.without_secrets(declared.job.name, given, str(error))
        yield Problem(text=f"options: {text}", hint=hint)


def _times(schedule: Schedule) -> StoredTimes:
    given = _given(schedule)
    if len(given) != 1:
        raise RuleError("exactly one of `cron`, `every`, `at`, `solar` and `after` is required")
    match schedule:
        case Schedule(after=after) if after and _are_names(after):
            return ChainTimes(after=tuple(sorted(set(after))), after_failure=bool(schedule.after_failure))
        case Schedule(cron=str(expression)):
            return CronTimes(expression=expression, zone=_zone(schedule))
        case Schedule(every=timedelta() as every) if every > NOTHING and not every % SECOND:
            return IntervalTimes(every=every // SECOND, period="seconds")
        case Schedule(at=datetime() as at):
            return ClockedTimes(at=_time(at, schedule))
        case Schedule(solar=SolarEvent(event=event, latitude=latitude, longitude=longitude)):
            return SolarTimes(event=event, latitude=degrees(latitude), longitude=degrees(longitude))
    raise RuleError(f"{getattr(schedule, given[0])!r} is not {_EXPECTED[given[0]]}")


def _given(schedule: Schedule) -> list[str]:
    """Which fields say when it is due."""
    times = [name for name in _TIMINGS if getattr(schedule, name) is not None]
    return [*times, "after"] if schedule.after else times


_EXPECTED = {
    "cron": 'an expression, such as "0 3 * * *"',
    "every": "a positive timedelta in whole seconds, such as timedelta(minutes=15)",
    "at": "a datetime",
    "after": 'a tuple of names of schedules, such as ("cleanup_tokens",)',
    "solar": 'an event, such as SolarEvent(event="sunset", latitude=51.5, longitude=-0.1)',
}


def _zone(schedule: Schedule) -> Any:
    name: Any = schedule.timezone or settings.TIME_ZONE
    return zone_named(name if isinstance(name, str) else repr(name))


def _time(at: datetime, schedule: Schedule) -> datetime:
    found = at.astimezone(UTC) if at.tzinfo else to_utc(at, _zone(schedule), fold=at.fold)
    if found is None:
        raise RuleError(f"{at} does not exist in {_zone(schedule)}: it is skipped by a clock change")
    return found


def degrees(value: Any) -> Decimal:
    """As precise as they can be stored. Raises RuleError."""
    try:
        return Decimal(f"{float(value):.6f}")
    except (TypeError, ValueError, ArithmeticError):
        raise RuleError(f"{value!r} is not a number of degrees") from None


def _timing_problem(schedule: Schedule, error: RuleError) -> str:
    if error.field == "time zone":
        return f"timezone: {str(error).removeprefix('time zone: ')}"
    given = _given(schedule)
    prefix = f"{given[0]}: " if len(given) == 1 else ""
    return prefix + str(error).removeprefix(prefix)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple | set | frozenset) and all(
        isinstance(each, str) and each for each in value
    )


def _are_calendars(value: Any) -> bool:
    if not isinstance(value, Calendars) or value.left_out not in list(LeftOutSlots):
        return False
    return all(map(_are_names, (value.not_on, value.only_on))) and not set(value.not_on) & set(value.only_on)


def _is_name(value: Any) -> bool:
    if value is None:
        return True
    is_text = isinstance(value, str) and bool(value.strip())
    return is_text and len(value) <= MAX_LENGTH and escaped(value) == value


def _is_queue(value: Any) -> bool:
    is_text = isinstance(value, str) and len(value) <= MAX_LENGTH
    return is_text and not delivery.problem_with_name(value)


def _is_number(minimum: int, maximum: int) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
    )


def _is_length(value: Any) -> bool:
    return isinstance(value, timedelta) and NOTHING <= value <= _CENTURY


def _is_limit(value: Any) -> bool:
    return isinstance(value, timedelta) and NOTHING <= value <= MAX_TIME_LIMIT


_CENTURY = timedelta(days=36525)
RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "after_failure": (lambda value: isinstance(value, bool), "True or False"),
    "name": (_is_name, f"a text of up to {MAX_LENGTH} characters without line breaks, or None"),
    "enabled": (lambda value: isinstance(value, bool), "True or False"),
    "only_in": (_are_names, 'a tuple of environments, such as ("production",)'),
    "description": (lambda value: value is None or isinstance(value, str), "a text, or None"),
    "queue": (_is_queue, "the name of a queue that Celery does not use itself, or an empty text"),
    "priority": (lambda value: value is None or _is_number(0, 255)(value), "a number from 0 to 255, or None"),
    "misfire": (
        lambda value: value in list(Misfire),
        "one of " + ", ".join(f"Misfire.{each.name}" for each in Misfire),
    ),
    "catch_up_limit": (_is_number(1, MAX_CATCH_UP), f"a number from 1 to {MAX_CATCH_UP}"),
    "starting_deadline": (
        lambda value: value is None or (_is_length(value) and value > NOTHING),
        "a positive timedelta, such as timedelta(minutes=10), or None",
    ),
    "jitter": (_is_length, "a timedelta, such as timedelta(minutes=5)"),
    "concurrency": (
        lambda value: value is None or value in list(Concurrency),
        "one of " + ", ".join(f"Concurrency.{each.name}" for each in Concurrency) + ", or None",
    ),
    "time_limit": (
        lambda value: value is None or (_is_limit(value) and value > NOTHING),
        "a positive timedelta, such as timedelta(minutes=10), or None",
    ),
    "time_limit_grace": (
        lambda value: value is None or _is_limit(value),
        "a timedelta, such as timedelta(seconds=30), or None",
    ),
    "calendars": (
        _are_calendars,
        'calendars by their names, each in one list only, such as Calendars(not_on=["UK holidays"])',
    ),
}
