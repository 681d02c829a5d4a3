"""Reviews a crontab: what becomes of each of its lines, before anything is stored.

A line that is a call of a job becomes a schedule, unless there is one already: a schedule that starts the
same job with the same options at the same times, whatever its name, or one with the name that the line's
would have. So importing a crontab again changes nothing, also if schedules were edited since.

Where it is doubtful what a line means, it is a problem: with any of these, nothing is imported.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, count
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q
from django_celery_beat.models import PeriodicTask

from jobledger.crontab import remarks, timing, user_column
from jobledger.crontab.calls import Call, find_call
from jobledger.crontab.findings import Finding, Outcome, Plan, Review
from jobledger.crontab.lines import REBOOT, Entry, Invalid, Line
from jobledger.crontab.targets import (
    SHELL_COMMANDS,
    NotExposedError,
    NotListedError,
    Target,
    masked,
    shell_target,
    target_of,
)
from jobledger.crontab.wrappers import NotUnderstoodError
from jobledger.jobs.declaration import Concurrency
from jobledger.jobs.json_text import readable
from jobledger.models import SchedulePolicy
from jobledger.schedules import stored_schedules, stored_times, words
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import NeverMatchesError, parse
from jobledger.schedules.rules.slots import RuleError, slots_between
from jobledger.schedules.rules.surprises import clock_surprises, surprises
from jobledger.schedules.rules.wallclock import LATEST, zone_named
from jobledger.schedules.stored_times import CronTimes

SLOTS = 5
MAX_NAME_LENGTH = 200
MAX_SUFFIX_LENGTH = 100
MAILTO = "MAILTO"


class _LeftError(Exception):
    """The line stays in the crontab; the message says why."""


class _ProblemError(Exception):
    """What the line means is doubtful; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a crontab is to be read."""

    zone: ZoneInfo
    """The zone of lines for which the crontab names none."""
    now: datetime
    is_system: bool = False
    with_shell_commands: bool = False
    """Whether other lines become runs of the commands in SHELL_COMMANDS."""


def review(lines: Sequence[Line], reading: Reading) -> Review:
    """Review all lines. Reads the stored schedules, and writes nothing."""
    entries = [line for line in lines if isinstance(line, Entry | Invalid)]
    problems = user_column.problems_of(lines, is_system=reading.is_system)
    findings = [_finding(line, reading, problems.get(line.number, "")) for line in entries]
    findings = _with_different_settings(_merged(_named(findings)))
    return Review(findings=findings, warnings=[*timing.surprises_of_file(lines), *remarks.of_all(findings)])


def _finding(line: Entry | Invalid, reading: Reading, problem: str) -> Finding:
    if isinstance(line, Invalid) or problem:
        reason = line.problem if isinstance(line, Invalid) else problem
        return Finding(line=line, outcome=Outcome.PROBLEM, reason=masked(reason))
    try:
        times = _times(line, reading.zone)
        call, target = _call_and_target(line, reading)
    except _ProblemError as error:
        return Finding(line=line, outcome=Outcome.PROBLEM, reason=masked(str(error)))
    except _LeftError as error:
        return Finding(line=line, outcome=Outcome.LEFT, reason=masked(str(error)))
    except (NotExposedError, NotListedError) as error:
        return Finding(line=line, outcome=Outcome.LEFT, reason=str(error), setting=error.setting)
    except NotUnderstoodError as error:
        return Finding(line=line, outcome=Outcome.LEFT, reason=str(error))
    return _new(line, times, call, target, reading.now)


def _new(line: Entry, times: CronTimes, call: Call, target: Target, now: datetime) -> Finding:
    addresses, others = _mail(line.variables.get(MAILTO, ""))
    time_limit, grace = remarks.time_limits_of(call, target)
    plan = Plan(
        target=target,
        times=times,
        concurrency=remarks.concurrency_of(call, target),
        time_limit=time_limit,
        time_limit_grace=grace,
        mail=addresses,
        description=masked(readable(line.comment)),
    )
    rule = Cron(expression=times.expression, zone=times.zone)
    notes = (*remarks.notes(line, call, target), *remarks.notes_on_mail(line, addresses, others))
    surprising = (*surprises(rule.parsed), *clock_surprises(rule, now))
    warnings = (*timing.differences(line), *surprising, *remarks.warnings(call, target))
    return Finding(
        line=line,
        outcome=Outcome.NEW,
        plan=plan,
        call=call,
        slots=list(slots_between(rule, now, LATEST, limit=SLOTS)),
        notes=[masked(each) for each in notes],
        warnings=[masked(each) for each in warnings],
    )


def _times(line: Entry, zone: ZoneInfo) -> CronTimes:
    if line.time.lower() == REBOOT:
        raise _LeftError("@reboot is not a time: let what starts the service run it")
    try:
        parse(line.time)
    except NeverMatchesError as error:
        raise _LeftError(f"cron never fires it: {error}") from None
    except RuleError as error:
        raise _ProblemError(str(error)) from None
    named = timing.zone_of(line)
    try:
        times = CronTimes(expression=line.time, zone=zone_named(named[1]) if named else zone)
        stored_times.validated(times, LATEST)
    except RuleError as error:
        raise _LeftError(f"{named[0] if named else 'its time'} cannot be used: {error}") from None
    return times


def _call_and_target(line: Entry, reading: Reading) -> tuple[Call, Target]:
    _check_that_it_can_be_stored(line.source)
    try:
        call = find_call(line)
        _check_that_it_can_be_stored("".join(call.arguments))
    except NotUnderstoodError as error:
        why = NotUnderstoodError(masked(str(error)))
        if not reading.with_shell_commands or line.stdin is not None:
            raise why from None
        return Call(), shell_target(line.shell_command.strip(), why)
    return call, target_of(call)


def _check_that_it_can_be_stored(text: str) -> None:
    if readable(text) != text:
        raise _LeftError("it is not valid UTF-8, or contains a NUL")


# MAILTO


def _mail(value: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The addresses, and whatever else it names, such as local users."""
    names = [name.strip() for name in value.split(",") if name.strip()]
    addresses = tuple(dict.fromkeys(filter(_is_address, names)))
    return addresses, tuple(name for name in names if name not in addresses)


def _is_address(name: str) -> bool:
    try:
        validate_email(name)
    except ValidationError:
        return False
    return True


# Names, and schedules that exist


def _named(findings: Sequence[Finding]) -> list[Finding]:
    """Each schedule has its command line as its name; with its time, where several have the same one.

    Even those can be equal, since names have a limited length and no secrets. Then they are numbered.
    """
    plans = list({each.plan.meaning: each.plan for each in findings if each.plan}.values())
    counts = Counter(_name(plan) for plan in plans)
    names: dict[tuple[Any, ...], str] = {}
    for plan in plans:
        times = _suffix(plan) if counts[_name(plan)] > 1 else ""
        numbered = (_name(plan, times + number) for number in chain([""], map(" #{}".format, count(2))))
        names[plan.meaning] = next(name for name in numbered if name not in names.values())
    return [_with_name(each, names) for each in findings]


def _name(plan: Plan, suffix: str = "") -> str:
    return plan.command_line[: MAX_NAME_LENGTH - len(suffix)] + suffix


def _suffix(plan: Plan) -> str:
    """The time; empty if it is too long for a name, so that a number tells the schedules apart."""
    text = f" ({plan.times.expression} {plan.times.zone})"
    return text if len(text) <= MAX_SUFFIX_LENGTH else ""


def _with_name(finding: Finding, names: Mapping[tuple[Any, ...], str]) -> Finding:
    if finding.plan is None:
        return finding
    name = names[finding.plan.meaning]
    return replace(finding, plan=replace(finding.plan, name=name), schedule=name)


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Compare each plan with the lines before it, and with the schedules that exist."""
    existing = _Existing([each.plan for each in findings if each.plan])
    first: dict[tuple[Any, ...], Finding] = {}
    merged = []
    for finding in findings:
        if finding.plan is None:
            merged.append(finding)
        elif earlier := first.get(finding.plan.meaning):
            merged.append(_duplicate(finding, earlier))
        else:
            compared = existing.compared(finding, finding.plan)
            first[finding.plan.meaning] = compared
            merged.append(compared)
    return merged


def _duplicate(finding: Finding, earlier: Finding) -> Finding:
    number, both = earlier.line.number, "cron runs both at the same time"
    different = remarks.differences(finding.plan, earlier.plan) if finding.plan and earlier.plan else ""
    reason = f"it means the same as line {number}; {both}"
    if different:
        reason = f"it starts the same as line {number}, whose limits the schedule has: {different}; {both}"
    return replace(finding, outcome=Outcome.DUPLICATE, reason=reason, schedule=earlier.schedule)


def _with_different_settings(findings: Sequence[Finding]) -> list[Finding]:
    """Different shell commands are suggested under different names."""
    values: dict[str, str] = {}
    changed = []
    for finding in findings:
        setting = finding.setting
        if setting is not None and setting.key == SHELL_COMMANDS:
            numbered = (setting.name + number for number in chain([""], map("_{}".format, count(2))))
            name = next(each for each in numbered if values.setdefault(each, setting.value) == setting.value)
            setting = replace(setting, name=name)
        changed.append(replace(finding, setting=setting))
    return changed


class _Existing:
    """The stored schedules that the plans may be about."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        tasks = {plan.target.job.task_name for plan in plans}
        meanings, lines = {plan.meaning for plan in plans}, {plan.line_digest for plan in plans}
        candidates = Q(task__in=tasks) | Q(policy__imported_line__in=lines)
        self._by_meaning: dict[tuple[Any, ...], tuple[PeriodicTask, Plan]] = {}
        self._by_line: dict[str, PeriodicTask] = {}
        self._in_crontab: set[str] = set()
        for _, schedule, _ in stored_schedules.each(PeriodicTask.objects.filter(candidates).order_by("pk")):
            if schedule is None:
                continue
            line = SchedulePolicy.of(schedule).imported_line
            self._by_line.setdefault(line, schedule)
            plan = _plan_of(schedule, plans) if schedule.task in tasks else None
            meaning = plan.meaning if plan else None
            if plan is not None:
                self._by_meaning.setdefault(plan.meaning, (schedule, plan))
            if meaning in meanings or line in lines:
                self._in_crontab.add(schedule.name)
        names = {name for plan in plans for name in (plan.name, *_earlier_names(plan))}
        # Without its times, which may be unreadable.
        self._by_name = {each.name: each for each in PeriodicTask.objects.filter(name__in=names)}

    def compared(self, finding: Finding, plan: Plan) -> Finding:
        if (found := self._by_meaning.get(plan.meaning)) is not None:
            same, stored = found
            reasons = [] if same.enabled else ["it exists, but it is disabled, and stays so"]
            if different := remarks.differences(plan, stored):
                reasons.append(f"importing leaves its limits, so edit it if the line is right: {different}")
            reason = "; ".join(reasons)
            return replace(finding, outcome=Outcome.UNCHANGED, schedule=same.name, reason=reason)
        if (made := self._by_line.get(plan.line_digest)) is not None:
            reason = f"that was made of it, and was edited since ({words.described(made)})"
            return replace(finding, outcome=Outcome.KEPT, schedule=made.name, reason=reason)
        namesake = self._by_name.get(plan.name) or self._edited(plan)
        if namesake is not None:
            due = words.described(namesake)
            reason = f"one of this name is different ({due}); rename that to import the line as well"
            return replace(finding, outcome=Outcome.KEPT, schedule=namesake.name, reason=reason)
        return finding

    def _edited(self, plan: Plan) -> PeriodicTask | None:
        """The schedule that the line may have become when the crontab had other lines of its command.

        It neither means what a line does, nor is it known to have been made of one.
        """
        for name in _earlier_names(plan):
            found = self._by_name.get(name)
            if found and found.task == plan.target.job.task_name and name not in self._in_crontab:
                return found
        return None


def _earlier_names(plan: Plan) -> tuple[str, str]:
    """The names that the schedule has if its command occurs once in the crontab, or several times."""
    return _name(plan), _name(plan, _suffix(plan))


def _plan_of(schedule: PeriodicTask, plans: Sequence[Plan]) -> Plan | None:
    """The plan that it could have come from, whatever its dialect; None if it cannot be compared with one."""
    times = stored_schedules.of(schedule)
    if not isinstance(times, CronTimes):
        return None
    target = next(plan.target for plan in plans if plan.target.job.task_name == schedule.task)
    try:
        stored: Mapping[str, Any] = json.loads(schedule.kwargs or "{}")
        options = {name: value for name, value in stored.items() if value is not None}
        policy = SchedulePolicy.of(schedule)
        plan = Plan(
            target=Target(job=target.job, options=options),
            times=times,
            concurrency=Concurrency(policy.concurrency) if policy.concurrency else None,
            time_limit=policy.time_limit,
            time_limit_grace=policy.time_limit_grace,
        )
        hash(plan.meaning)
    except (ValueError, AttributeError):
        return None
    return plan
