"""``jobledger import_crontab``: makes schedules of the lines of a crontab, after a report on each of them."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger import clock, formats
from jobledger.crontab import storing
from jobledger.crontab.findings import Finding, Outcome, Plan, Review
from jobledger.crontab.lines import decoded, parse
from jobledger.crontab.review import Reading, review
from jobledger.crontab.targets import masked
from jobledger.escapes import escaped
from jobledger.jobs import secrets
from jobledger.jobs.declaration import Concurrency
from jobledger.management import arguments, printing, wrapped_crontabs
from jobledger.management.operator_command import OperatorCommand
from jobledger.models.schedule import CONCURRENCY_LABELS
from jobledger.runs.limits import in_words
from jobledger.schedules.rules.wallclock import is_same_zone

STDIN = "-"
MAX_BYTES = 1024 * 1024
"""Cron's own limit is 10,000 lines."""
MAX_SHOWN = 200
"""The report shows no more of a line that stays in the crontab."""
_LOCALTIME = Path("/etc/localtime")

VERDICTS = {
    Outcome.NEW: "becomes the schedule",
    Outcome.UNCHANGED: "is already the schedule",
    Outcome.KEPT: "is not imported as the schedule",
    Outcome.DUPLICATE: "is part of the schedule",
    Outcome.LEFT: "stays in the crontab",
    Outcome.PROBLEM: "cannot be imported",
}
COUNTS = {
    Outcome.NEW: ("new schedule", "new schedules"),
    Outcome.UNCHANGED: ("schedule that exists", "schedules that exist"),
    Outcome.KEPT: ("schedule that differs and is kept", "schedules that differ and are kept"),
    Outcome.DUPLICATE: ("duplicate", "duplicates"),
    Outcome.LEFT: ("line that stays in the crontab", "lines that stay in the crontab"),
    Outcome.PROBLEM: ("problem", "problems"),
}


class Command(OperatorCommand):
    """Prints the report on stdout, and a summary on stderr."""

    help = (
        "Make schedules of the jobs in a crontab. First prints what becomes of each line: those that call "
        "manage.py become schedules. Stores all of them or, if there is a problem, none; importing again "
        "changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="The crontab, or - for stdin (`crontab -l | …`).")
        parser.add_argument(
            "--system",
            action="store_true",
            help="The lines have a user column, as in /etc/crontab and /etc/cron.d.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Only report.")
        parser.add_argument(
            "--tz",
            metavar="ZONE",
            help="The zone of the machine whose crontab it is, such as Europe/London, for lines without "
            "CRON_TZ. Default: TIME_ZONE.",
        )
        parser.add_argument(
            "--shell",
            action="store_true",
            help="Let lines that are no call of manage.py become runs of the job shell_command, if the "
            "setting SHELL_COMMANDS lists their commands.",
        )
        parser.add_argument("--json", action="store_true", help="Print the report as a JSON object.")
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--wrap",
            action="store_true",
            help="Instead of importing, print the crontab with `jobledger wrap` in front of its commands.",
        )
        instead.add_argument(
            "--unwrap", action="store_true", help="Instead of importing, print the crontab without it."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["wrap"] or options["unwrap"]:
            wrapped_crontabs.print_rewritten(self, _text(options["file"]), options)
            return
        zone = timezone.get_default_timezone() if options["tz"] is None else None
        reading = Reading(
            zone=zone or arguments.zone(options["tz"], "--tz"),
            now=clock.now(),
            is_system=options["system"],
            with_shell_commands=options["shell"],
        )
        lines = parse(_text(options["file"]), is_system=reading.is_system)
        found = review(lines, reading)
        is_complete = printing.write_lines(self.stdout, _report(found, reading, as_json=options["json"]))
        if found.having(Outcome.PROBLEM):
            numbers = _numbers(found, Outcome.PROBLEM)
            raise CommandError(f"Nothing is imported. Correct these lines, or remove them: {numbers}")
        if not is_complete:
            raise CommandError("Nothing is imported: the report could not be printed as a whole")
        if options["tz"] is None and (hint := _other_zone(reading.zone)):
            self.remark(hint)
        self.remark(_stored(found, is_dry_run=options["dry_run"]))


def _text(file: str) -> str:
    try:
        if file == STDIN:
            content = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise CommandError(f"{file}: it is longer than {MAX_BYTES:,} bytes, which no crontab is")
    return decoded(content)


def _other_zone(zone: ZoneInfo) -> str:
    """A hint, if this machine's clock is in another zone."""
    machine = os.path.realpath(_LOCALTIME).partition("zoneinfo/")[2]
    if not machine or is_same_zone(machine, str(zone)):
        return ""
    return (
        f"Times are read in {zone} (TIME_ZONE), but cron on this machine goes by {machine}. "
        f"If the crontab is from here, pass --tz {machine}."
    )


def _stored(found: Review, *, is_dry_run: bool) -> str:
    counts = [
        f"{len(each)} {COUNTS[outcome][len(each) != 1]}"
        for outcome in Outcome
        if (each := found.having(outcome))
    ]
    summary = ", ".join(counts) or "No line of this crontab runs anything"
    if is_dry_run:
        return f"{summary}. Nothing was stored (--dry-run)."
    try:
        stored = storing.store(found.findings)
    except storing.ConflictError as error:
        raise CommandError(f"Nothing is imported, because schedules have just changed: {error}") from error
    return " ".join([f"{summary}.", *_consequences(found, stored)])


def _consequences(found: Review, stored: storing.Stored) -> Iterator[str]:
    """What was stored, and what is to be done with the crontab."""
    if stored.runs:
        yield f"{stored.runs} recorded run{'s' if stored.runs > 1 else ''} of cron now belong to schedules."
    if stored.schedules:
        numbers = _numbers(found, Outcome.NEW, Outcome.UNCHANGED)
        yield f"Stored. Now remove these lines, or cron runs them as well: {numbers}"
    elif not stored.runs:
        yield "Nothing was stored."
    if numbers := _numbers(found, Outcome.KEPT):
        yield (
            "Compare these lines with the schedules of their names, and keep those in the crontab that no "
            f"schedule replaces: {numbers}"
        )


def _numbers(found: Review, *outcomes: Outcome) -> str:
    return ", ".join(str(each.line.number) for each in found.having(*outcomes))


# The report


def _report(found: Review, reading: Reading, *, as_json: bool) -> Iterator[str]:
    if as_json:
        yield printing.json_text(_as_json(found, reading), indent=2)
        return
    for finding in found.findings:
        yield from map(escaped, _lines_of(finding))
    for warning in found.warnings:
        yield escaped(f"warning: {warning}")
    for setting in _settings(found):
        yield escaped(f"add to your settings: {setting}")


def _lines_of(finding: Finding) -> Iterator[str]:
    name = f" “{finding.schedule}”" if finding.schedule else ""
    reason = f": {finding.reason}" if finding.reason else ""
    yield f"line {finding.line.number} {VERDICTS[finding.outcome]}{name}{reason}"
    if finding.plan is None or finding.outcome is Outcome.DUPLICATE:
        shown = _shown(finding)
        yield f"    {shown[:MAX_SHOWN]}…" if len(shown) > MAX_SHOWN else f"    {shown}"
        return
    plan = finding.plan
    yield f"    runs     {plan.command_line}, {plan.timing}"
    yield f"    next     {'  '.join(_times(finding))}"
    if finding.outcome is Outcome.NEW:
        yield from _details(finding, plan)


def _details(finding: Finding, plan: Plan) -> Iterator[str]:
    if plan.concurrency is not None:
        yield f"    overlap  {_overlap(plan.concurrency)}"
    if plan.time_limit is not None:
        yield f"    limit    {_limit(plan, plan.time_limit)}"
    if plan.mail:
        yield f"    alerts   to {', '.join(plan.mail)}, in place of the general rules"
    for label, texts in ("note", finding.notes), ("warning", finding.warnings):
        for text in texts:
            yield f"    {label:8} {text}"


def _shown(finding: Finding) -> str:
    """The line, without what looks like a secret."""
    return masked(finding.line.text)


def _overlap(concurrency: Concurrency) -> str:
    return f"if the previous run is still running: {dict(CONCURRENCY_LABELS)[concurrency]}"


def _limit(plan: Plan, length: timedelta) -> str:
    declared = plan.target.job.declaration
    grace = declared.time_limit_grace if plan.time_limit_grace is None else plan.time_limit_grace
    own = formats.duration(declared.time_limit, parts=4) if declared.time_limit else ""
    return in_words(length, grace) + (f", in place of the job's {own}" if own else "")


def _times(finding: Finding) -> list[str]:
    zone = finding.plan.times.zone if finding.plan else None
    return [slot.astimezone(zone).isoformat(timespec="minutes") for slot in finding.slots]


def _settings(found: Review) -> list[str]:
    return list(dict.fromkeys(str(each.setting) for each in found.findings if each.setting))


def _as_json(found: Review, reading: Reading) -> dict[str, Any]:
    return {
        "time_zone": str(reading.zone),
        "lines": [_finding_as_json(each) for each in found.findings],
        "warnings": list(found.warnings),
        "settings": _settings(found),
    }


def _finding_as_json(finding: Finding) -> dict[str, Any]:
    return {
        "line": finding.line.number,
        "text": _shown(finding),
        "outcome": finding.outcome,
        "reason": finding.reason or None,
        "schedule": finding.schedule or None,
        "setting": str(finding.setting) if finding.setting else None,
        **(_plan_as_json(finding.plan) if finding.plan else {}),
        "next": _times(finding),
        "notes": list(finding.notes),
        "warnings": list(finding.warnings),
    }


def _seconds(length: timedelta | None) -> float | None:
    return None if length is None else length.total_seconds()


def _plan_as_json(plan: Plan) -> dict[str, Any]:
    return {
        "job": plan.target.job.name,
        "options": secrets.masked(plan.target.job.name, plan.target.options),
        "cron": plan.times.expression,
        "time_zone": str(plan.times.zone),
        "in_words": plan.timing,
        "concurrency": plan.concurrency,
        "time_limit_seconds": _seconds(plan.time_limit),
        "time_limit_grace_seconds": _seconds(plan.time_limit_grace),
        "alerts_to": list(plan.mail),
    }
