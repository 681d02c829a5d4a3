"""What is different once a line of a crontab is a schedule, in words."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from posixpath import dirname, isabs

from django.conf import ENVIRONMENT_VARIABLE

from jobledger import formats
from jobledger.crontab.calls import Call
from jobledger.crontab.findings import Finding, Outcome, Plan
from jobledger.crontab.lines import Entry
from jobledger.crontab.targets import Target
from jobledger.crontab.wrappers import TimeLimit
from jobledger.jobs.declaration import Concurrency
from jobledger.models.schedule import CONCURRENCY_LABELS
from jobledger.runs.limits import in_words
from jobledger.runs.overlap import declared_guard
from jobledger.schedules.rules.cron_words import listed

_CRONS_OWN = frozenset(
    {"CONTENT_TRANSFER_ENCODING", "CONTENT_TYPE", "CRON_TZ", "HOME", "LOGNAME", "MAILFROM", "MAILTO"}
    | {"PATH", "RANDOM_DELAY", "SHELL", "TZ", "USER", ENVIRONMENT_VARIABLE}
)
"""Variables that mean nothing to the job, or that are handled on their own."""


def concurrency_of(call: Call, target: Target) -> Concurrency | None:
    """What the line says about overlap; None: as the job says."""
    if call.lock is None:
        return target.concurrency
    return Concurrency.QUEUE if call.lock.waits else Concurrency.FORBID


def time_limits_of(call: Call, target: Target) -> tuple[timedelta | None, timedelta | None]:
    """What the line says about the time limit, and the time to clean up; None: as the job says.

    The job also has its own limit if cron starts it, so that the shorter one counts.
    """
    declared, limit = target.job.declaration, call.time_limit
    if limit is None or (declared.time_limit is not None and declared.time_limit <= limit.length):
        return None, None
    return limit.length, None if limit.grace == declared.time_limit_grace else limit.grace


def notes(line: Entry, call: Call, target: Target) -> Iterator[str]:
    """What is worth knowing."""
    if not call.command:
        yield "/bin/sh runs it, with the worker's user, folder and variables instead of cron's (HOME, PATH)"
    if call.output_files:
        yield f"its output is kept with each run, and no longer written to {listed(call.output_files)}"
    user = call.user or line.user
    if user:
        yield f"cron runs it as {user}; here, it runs as the worker's user"
    if call.variables:
        yield f"the worker must have the variables that the line sets: {', '.join(call.variables)}"
    if call.lock and call.lock.wait_limit:
        limit = call.lock.wait_limit
        yield f"`flock` waits at most {limit} s; to limit that here, give the schedule a start deadline"
    if call.time_limit and not call.lock and _waits(target):
        yield "`timeout` also counts the wait for the previous run; here, the limit counts from the start"
    if target.without_effect:
        yield f"{listed(target.without_effect)} of manage.py has no effect in a worker"
    yield from call.notes


def _waits(target: Target) -> bool:
    """Whether the job itself waits if it is started while it is running."""
    return (target.concurrency or target.job.declaration.concurrency) == Concurrency.QUEUE


def notes_on_mail(line: Entry, addresses: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """What ``MAILTO`` says that no rule can do."""
    if others:
        consequence = "is left out" if addresses else "the general alert rules apply instead"
        yield f"MAILTO names {listed(others)}, which is not a mail address: {consequence}"
    elif line.variables.get("MAILTO") == "":
        yield "MAILTO is empty, so cron tells nobody; here, the general alert rules apply"


def warnings(call: Call, target: Target) -> Iterator[str]:
    """What may not be as expected."""
    yield from call.warnings
    if call.hides_failure:
        yield f"`{call.hides_failure}` hides failures from cron; here, they are recorded and alerted on"
    if call.time_limit is not None:
        yield from _on_time_limit(call.time_limit, target)
    if target.settings_module:
        yield _on_settings(f"--settings={target.settings_module}", target.settings_module)
    elif call.settings_module:
        yield _on_settings(f"{ENVIRONMENT_VARIABLE}={call.settings_module}", call.settings_module)


def _on_time_limit(limit: TimeLimit, target: Target) -> Iterator[str]:
    own = target.job.declaration.time_limit
    if limit.length < timedelta(seconds=1):
        yield f"`timeout` ends it after {formats.plain_seconds(limit.length)} s, which is less than a second"
    if own is not None and own < limit.length:
        text = formats.duration(limit.length)
        yield f"`timeout` ends it after {text}; the job's own time limit is shorter: {formats.duration(own)}"


def differences(plan: Plan, other: Plan) -> str:
    """In which time limit and overlap rule they differ, although they start the same; empty if in neither."""
    pairs = [
        ("time limit", _limit_in_words(other), _limit_in_words(plan)),
        ("overlap rule", _overlap_in_words(other), _overlap_in_words(plan)),
    ]
    return ", ".join(f"{what} “{theirs}”, here “{ours}”" for what, theirs, ours in pairs if theirs != ours)


def _limit_in_words(plan: Plan) -> str:
    declared = plan.target.job.declaration
    limit = plan.time_limit or declared.time_limit
    grace = declared.time_limit_grace if plan.time_limit_grace is None else plan.time_limit_grace
    return in_words(limit, grace) if limit else "none"


def _overlap_in_words(plan: Plan) -> str:
    return dict(CONCURRENCY_LABELS)[plan.concurrency or plan.target.job.declaration.concurrency]


def _on_settings(what: str, module: str) -> str:
    here = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if module == here:
        return f"{what}: that is also what is in use here; workers must be started with it"
    return f"{what}: the worker has its own settings, here {here or 'unknown'}, and this has no effect"


# About several lines


def of_all(findings: Sequence[Finding]) -> Iterator[str]:
    """What concerns several lines."""
    called = [each for each in findings if each.call is not None and isinstance(each.line, Entry)]
    yield from _variables(called)
    yield from _folders(called)
    yield from _locks(called)
    yield from _overlap(called)
    yield from _exclusion(called)


def _variables(called: Sequence[Finding]) -> Iterator[str]:
    numbers: dict[str, list[int]] = defaultdict(list)
    modules: dict[str, list[int]] = defaultdict(list)
    # What lines use themselves, such as the path of Python, is not meant for the job.
    used = {name for each in called if each.call for name in each.call.used_variables}
    for each in called:
        if not isinstance(each.line, Entry):
            continue
        # A shell command expands them itself, and only the worker's variables are there.
        needed = {name for name in used if _is_shell_command(each) and name in each.line.command}
        for name in set(each.line.variables) - _CRONS_OWN - (used - needed):
            numbers[name].append(each.line.number)
        module = each.line.variables.get(ENVIRONMENT_VARIABLE)
        if module and not _has_own_settings(each):
            modules[module].append(each.line.number)
    for name in sorted(numbers):
        yield f"The crontab sets {name} for {_lines(numbers[name])}: the worker must have it."
    for module, where in modules.items():
        yield f"{_on_settings(f'{ENVIRONMENT_VARIABLE}={module} for {_lines(where)}', module)}."


def _has_own_settings(finding: Finding) -> bool:
    """Whether the line itself names settings, which go before those of the crontab."""
    call, plan = finding.call, finding.plan
    return bool((call and call.settings_module) or (plan and plan.target.settings_module))


def _is_shell_command(finding: Finding) -> bool:
    return finding.call is not None and not finding.call.command


def _folders(called: Sequence[Finding]) -> Iterator[str]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for each in called:
        if each.call is not None and isabs(each.call.program):
            numbers[dirname(each.call.program)].append(each.line.number)
    if len(numbers) > 1:
        parts = [f"{folder} ({_lines(where)})" for folder, where in numbers.items()]
        yield f"The lines call manage.py in different folders: {listed(parts)}. Are they the same project?"


def _locks(called: Sequence[Finding]) -> Iterator[str]:
    jobs: dict[str, dict[str, int]] = defaultdict(dict)
    for each in called:
        if each.call is not None and each.call.lock is not None:
            jobs[each.call.lock.file].setdefault(each.call.command, each.line.number)
    for file, names in jobs.items():
        if len(names) > 1:
            yield (
                f"The jobs {listed(sorted(names))} share the lock {file}, so that they never run at the same "
                "time. Here, only runs of the same job exclude each other."
            )


def _overlap(called: Sequence[Finding]) -> Iterator[str]:
    numbers = [
        each.line.number
        for each in called
        if each.plan
        and each.plan.concurrency is None
        and each.plan.target.job.declaration.concurrency != Concurrency.ALLOW
    ]
    if numbers:
        yield (
            f"Cron starts {_lines(numbers)} even while the previous run is still running. Here, the job's "
            "own rule decides, which by default skips such a run."
        )


def _exclusion(called: Sequence[Finding]) -> Iterator[str]:
    """Lines that cron runs at the same time, while the runs of one job exclude each other."""
    groups: dict[str, list[int]] = defaultdict(list)
    jobs: dict[str, str] = {}
    for each in called:
        if each.plan is not None and each.outcome is not Outcome.DUPLICATE and (key := _key_of(each.plan)):
            groups[key].append(each.line.number)
            jobs[key] = each.plan.target.job.name
    for key, numbers in groups.items():
        if len(numbers) > 1:
            yield (
                f"{_lines(numbers).capitalize()} start the same job, {jobs[key]}. Here, their runs exclude "
                "each other: by default, one that is due while another is running is skipped. If they may "
                "overlap, give the job a concurrency_key, or Concurrency.ALLOW."
            )


def _key_of(plan: Plan) -> str:
    """The same for all plans whose runs exclude each other; empty if they may overlap."""
    job = plan.target.job
    try:
        return declared_guard(
            job.name, job.declaration, dict(plan.target.options), plan.concurrency or ""
        ).key
    except Exception:  # noqa: BLE001 - code of the project, which is not what is reviewed
        return ""


def _lines(numbers: Sequence[int]) -> str:
    shown = [str(number) for number in numbers[:8]] + (["more"] if len(numbers) > 8 else [])
    return f"line{'' if len(numbers) == 1 else 's'} {listed(shown)}"
