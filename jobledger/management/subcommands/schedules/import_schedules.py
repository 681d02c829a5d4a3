"""``jobledger import_schedules``: makes the stored schedules those of a file."""

import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.versions.importing import (
    ACTIONS,
    Action,
    MeanwhileChangedError,
    Outcome,
    import_schedules,
    renamed_in,
)
from jobledger.management import printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.schedule_files import FORMATS, STDIN, format_of
from jobledger.models import Calendar, CalendarKind, Dialect
from jobledger.schedules.audit import command_line_user
from jobledger.schedules.documents.files import InvalidFileError, ScheduleFile, read
from jobledger.schedules.documents.yaml_texts import MissingLibraryError
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.surprises import all_surprises
from jobledger.schedules.rules.wallclock import zone_named

MAX_BYTES = 32 * 1024 * 1024
VERBS = {Action.ADD: "add", Action.CHANGE: "change", Action.DELETE: "delete"}
NAMES_SHOWN = 10
COUNTS = {
    Action.ADD: "added",
    Action.CHANGE: "changed",
    Action.DELETE: "deleted",
    Action.NONE: "unchanged",
    Action.KEEP: "not in the file, and kept",
}


class Command(OperatorCommand):
    """Prints what changes on stdout, and a summary on stderr."""

    help = (
        "Make the stored schedules and calendars those of an exported file. Prints what changes. "
        "Imports all of the file or, if anything in it is not valid, nothing. Importing again changes "
        "nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="The file, or - for stdin.")
        parser.add_argument("--dry-run", action="store_true", help="Only print what would change.")
        parser.add_argument(
            "--prune",
            action="store_true",
            help="Delete the schedules that are not in the file, and unused calendars. Asks first.",
        )
        parser.add_argument("--yes", action="store_true", help="Do not ask before schedules are deleted.")
        parser.add_argument(
            "--format", choices=FORMATS, help="Default: by the name of the file, or by its content."
        )
        parser.add_argument("--json", action="store_true", help="Print a JSON list with all schedules.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            file = _file(options["file"], options["format"])
            if options["prune"] and not (options["dry_run"] or options["yes"] or file.problems):
                self._confirm_deletions(file)
            outcomes = import_schedules(
                file,
                user=command_line_user(),
                prune=options["prune"],
                dry_run=options["dry_run"],
            )
        except InvalidFileError as error:
            for problem in error.problems:
                self.warn(str(problem))
            raise CommandError("Nothing was imported. Correct the file.") from error
        except MeanwhileChangedError as error:
            text = "Nothing was imported, because schedules have just been changed. Try again"
            raise CommandError(text) from error
        if options["json"]:
            lines = printing.json_lines(_as_json(each) for each in outcomes)
        else:
            lines = _lines(outcomes)
        printing.write_lines(self.stdout, lines)
        self.remark(_summary(outcomes, is_dry_run=options["dry_run"]))
        for note in _notes(file, outcomes):
            self.warn(note)

    def _confirm_deletions(self, file: ScheduleFile) -> None:
        stored = PeriodicTask.objects.order_by("name").values_list("name", flat=True)
        kept = {*file.documents, *renamed_in(file).values()}
        names = [name for name in stored if name not in kept]
        if not (parts := [*_counted(names, "schedule"), *_counted(_unused_calendars(file), "calendar")]):
            return
        what = " and ".join(parts)
        self.confirm(f"Delete {what}?", effect=f"This would delete {what}", otherwise="nothing was imported")


def _counted(names: Sequence[str], noun: str) -> Iterator[str]:
    """How many of them are not in the file, and the first ones, if there are any."""
    if names:
        count = f"1 {noun}" if len(names) == 1 else f"{len(names):,} {noun}s"
        more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
        yield f"{count} not in the file ({', '.join(names[:NAMES_SHOWN])}{more})"


def _unused_calendars(file: ScheduleFile) -> list[str]:
    """The calendars that are not in the file, which no schedule of the file uses."""
    if file.calendars is None:
        return []
    used = {name for each in file.documents.values() for kind in CalendarKind for name in each.get(kind, ())}
    names = Calendar.objects.order_by("name").values_list("name", flat=True)
    return [name for name in names if name not in file.calendars and name not in used]


def _file(file: str, kind: str | None) -> ScheduleFile:
    text = _text(file)
    try:
        return read(text, kind or format_of(file, text))
    except MissingLibraryError as error:
        raise CommandError(str(error)) from error


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
        raise CommandError(f"{file}: it is longer than {MAX_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: it is not in UTF-8: {error}") from error


def _lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for each in outcomes:
        if each.action in ACTIONS:
            yield f"{VERBS[each.action]} {'calendar ' if each.is_calendar else ''}{each.name}"
        for one in each.differences:
            if one.old:
                yield f"  - {one.key}: {one.old}"
            if one.new:
                yield f"  + {one.key}: {one.new}"


def _summary(outcomes: Sequence[Outcome], *, is_dry_run: bool) -> str:
    summary = _counts(each for each in outcomes if not each.is_calendar) or "The file contains no schedules"
    if of_calendars := _counts(each for each in outcomes if each.is_calendar):
        summary = f"{summary}. Calendars: {of_calendars}"
    return f"{summary}. Nothing was stored (--dry-run)." if is_dry_run else f"{summary}."


def _notes(file: ScheduleFile, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What the expressions that were added or changed mean, where somebody may think otherwise."""
    for each in outcomes:
        document = file.documents.get(each.name, {}) if each.action in (Action.ADD, Action.CHANGE) else {}
        if "cron" not in document or each.is_calendar or document.get("dialect") == Dialect.CELERY:
            continue
        rule = Cron(expression=document["cron"], zone=zone_named(document["timezone"]))
        for surprise in all_surprises(rule, timezone.now()):
            yield f"Note: {each.name} ({rule.expression}): {surprise}."


def _counts(outcomes: Iterable[Outcome]) -> str:
    counts = Counter(each.action for each in outcomes)
    return ", ".join(f"{counts[action]} {text}" for action, text in COUNTS.items() if counts[action])


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "calendar" if outcome.is_calendar else "schedule": outcome.name,
        "action": outcome.action,
        "changes": [{"key": each.key, "old": each.old, "new": each.new} for each in outcome.differences],
    }
