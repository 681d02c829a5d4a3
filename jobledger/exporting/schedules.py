"""What is to be exported of the stored schedules, and what cannot be."""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.calendars.use import names_in
from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, Misfire
from jobledger.jobs.options import OptionsError, to_argv
from jobledger.jobs.options.argparse_internals import actions_of
from jobledger.jobs.options.parser import OVERLAP_OPTIONS
from jobledger.jobs.registry import Job
from jobledger.models import Dialect, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.stored_times import (
    ChainTimes,
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_UTC = ZoneInfo("UTC")
_FLAGS = {Concurrency.QUEUE: "--wait", Concurrency.ALLOW: "--allow-overlap"}


class NotExpressibleError(Exception):
    """The schedule cannot be exported; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is started, and when."""

    name: str
    arguments: Sequence[str]
    """Of ``manage.py``, with the secrets among them."""
    times: CronTimes | ClockedTimes
    enabled: bool
    catches_up: bool
    jitter: timedelta
    time_limit: timedelta | None
    """None: what the job itself enforces, also if it is started by another scheduler."""
    grace: timedelta
    """How long after that it is killed."""
    notes: Sequence[str]
    """What of the schedule is lost."""


@dataclass(frozen=True, kw_only=True)
class Omission:
    """A schedule that is left out."""

    name: str
    reason: str


def exports() -> Iterator[Export | Omission]:
    """All schedules, by name."""
    for name, schedule, unreadable in stored_schedules.each(PeriodicTask.objects.order_by("name")):
        if schedule is None:
            yield Omission(name=name, reason=unreadable)
            continue
        try:
            yield _export(schedule)
        except (NotExpressibleError, RuleError, OptionsError) as error:
            yield Omission(name=name, reason=str(error))
        except (TypeError, ValueError, ArithmeticError) as error:
            # What is stored is not valid.
            why = stored_schedules.why_broken(schedule) or str(error)
            yield Omission(name=name, reason=why)


def _export(schedule: PeriodicTask) -> Export:
    job = registry.of_task(schedule.task)
    if job is None:
        raise NotExpressibleError(f"it starts the Celery task {schedule.task}, which no command line does")
    policy = SchedulePolicy.of(schedule)
    arguments, notes = _arguments(job, schedule, policy)
    return Export(
        name=schedule.name,
        arguments=arguments,
        times=_times(schedule, policy),
        enabled=schedule.enabled,
        catches_up=policy.misfire != Misfire.SKIP,
        jitter=policy.jitter,
        time_limit=_time_limit(policy, job),
        grace=_grace(policy, job),
        notes=[*notes, *_lost(schedule, policy, job)],
    )


def _arguments(job: Job, schedule: PeriodicTask, policy: SchedulePolicy) -> tuple[list[str], list[str]]:
    try:
        options = json.loads(schedule.kwargs or "{}")
    except ValueError:
        raise NotExpressibleError("its options are not valid JSON") from None
    argv = [*job.command_words, *to_argv(job.create_validating_parser(), options)]
    if "\0" in "".join(argv):
        raise NotExpressibleError("an option contains a NUL")
    if not policy.concurrency or policy.concurrency == job.declaration.concurrency:
        return argv, []
    flag = _FLAGS.get(Concurrency(policy.concurrency), "")
    if job.function is not None:
        return argv, ["its overlap rule: that of the function holds"]
    parser = job.create_command().create_parser("manage.py", job.name)
    # The job may have an option of its own with this name.
    is_ours = {flag} & {string for dest in OVERLAP_OPTIONS for string in _strings(parser, dest)}
    if not is_ours:
        return argv, [f"its overlap rule: the job's own holds ({job.declaration.concurrency})"]
    return [job.name, flag, *argv[1:]], []


def _strings(parser: ArgumentParser, dest: str) -> Sequence[str]:
    """The option strings of the option with this dest."""
    return [
        string for action in actions_of(parser) if action.dest == dest for string in action.option_strings
    ]


def _times(schedule: PeriodicTask, policy: SchedulePolicy) -> CronTimes | ClockedTimes:
    if schedule.one_off and schedule.clocked_id is None:
        raise NotExpressibleError("it runs only once")
    if limits := names_in(policy.calendars)["only_on"]:
        raise NotExpressibleError(f"it is limited to calendars ({', '.join(limits)})")
    times: StoredTimes | None = stored_schedules.of(schedule)
    match times:
        case None:
            raise NotExpressibleError("its times cannot be read")
        case ChainTimes(after=after):
            raise NotExpressibleError(f"it starts after other schedules ({', '.join(after)})")
        case SolarTimes():
            raise NotExpressibleError(f"{times.event} is at another time every day")
        case IntervalTimes():
            return _as_cron(times, stored_schedules.anchor_of(policy, schedule.start_time))
        case CronTimes(dialect=Dialect.CELERY):
            return _in_crons_dialect(times)
    return times


def _as_cron(times: IntervalTimes, anchor: datetime) -> CronTimes:
    """The interval as an expression, if it is always at the same minutes, or at the same time of day."""
    every, first = timedelta(**{times.period: times.every}), anchor.astimezone(UTC)
    if first.second or first.microsecond or every < timedelta(minutes=1):
        raise NotExpressibleError("its interval does not fall on whole minutes")
    minutes = int(every.total_seconds()) // 60
    if every == DAY:
        return CronTimes(expression=f"{first.minute} {first.hour} * * *", zone=_UTC)
    if every % timedelta(minutes=1) or HOUR % every:
        raise NotExpressibleError("its interval is neither a day nor a part of an hour without a rest")
    offset = first.minute % minutes
    at = {0: "*" if minutes == 1 else f"*/{minutes}"}.get(offset, f"{offset}-59/{minutes}")
    return CronTimes(expression=f"{first.minute if every == HOUR else at} * * * *", zone=_UTC)


def _in_crons_dialect(times: CronTimes) -> CronTimes:
    """Cron takes a day of month or a weekday, Celery both."""
    _, _, days, _, weekdays = times.expression.split()
    if not (days.startswith("*") or weekdays.startswith("*")):
        raise NotExpressibleError("it asks for a day of month and a weekday at once, as only Celery does")
    return replace(times, dialect=Dialect.CRON)


def _time_limit(policy: SchedulePolicy, job: Job) -> timedelta | None:
    """The schedule's own, unless the job's is shorter, which ends it before.

    None of a function, which is only queued: a worker calls it.
    """
    if job.function is not None:
        return None
    own, of_job = policy.time_limit, job.declaration.time_limit
    return None if own is not None and of_job is not None and of_job <= own else own


def _grace(policy: SchedulePolicy, job: Job) -> timedelta:
    own = policy.time_limit_grace
    return job.declaration.time_limit_grace if own is None else own


def _lost(schedule: PeriodicTask, policy: SchedulePolicy, job: Job) -> Iterator[str]:
    if left_out := names_in(policy.calendars)["not_on"]:
        yield f"that calendars leave out some of its runs ({', '.join(left_out)})"
    if schedule.expires:
        yield f"it expires at {schedule.expires.isoformat()}"
    if schedule.start_time and schedule.interval_id is None:
        yield f"it starts at {schedule.start_time.isoformat()}"
    if policy.starting_deadline:
        yield "its start deadline"
    yield from _lost_limits(policy, job)
    if policy.misfire == Misfire.ALL:
        yield "that each of several missed runs is caught up"
    if job.declaration.max_retries and job.function is None:
        yield f"its {job.declaration.max_retries} retries"


def _lost_limits(policy: SchedulePolicy, job: Job) -> Iterator[str]:
    own, of_job, grace = policy.time_limit, job.declaration.time_limit, policy.time_limit_grace
    if job.function is not None:
        if own is not None or grace is not None:
            yield "its limits: those of the function hold"
        return
    if own is not None and of_job is not None and of_job < own:
        yield f"its time limit ({formats.duration(own)}): the job's own holds ({formats.duration(of_job)})"
    elif own is None and grace is not None and grace != job.declaration.time_limit_grace:
        yield f"its time to clean up ({formats.duration(grace)})"
    waits = (policy.concurrency or job.declaration.concurrency) == Concurrency.QUEUE
    if waits and _time_limit(policy, job) is not None:
        yield "that its time limit does not include the wait until the previous run has ended"
