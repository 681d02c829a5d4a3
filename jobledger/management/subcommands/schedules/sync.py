"""``jobledger sync``: applies the schedules that are declared in code."""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.core.management.base import CommandError

from jobledger.management import printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.schedules.declared import DeclarationError, unknown_environments
from jobledger.schedules.declared import sync as syncing
from jobledger.schedules.declared.outcomes import ACTIONS, Action, Difference, Outcome

VERBS = {
    Action.CREATE: ("Created", "Would create"),
    Action.CHANGE: ("Changed", "Would change"),
    Action.ORPHAN: ("Disabled", "Would disable"),
    Action.REVIVE: ("Took up again", "Would take up again"),
}
"""What was done, and what would be done."""
REASONS = {
    Action.ORPHAN: "the code no longer declares it",
    Action.REVIVE: "the code declares it again",
}


class Command(OperatorCommand):
    """Prints a line for each change, and a warning for what has been changed in the code and in the admin."""

    help = (
        "Apply the calendars and schedules that are declared in code. What users changed in the admin stays; "
        "what was changed in both places is reported as drift. Safe to repeat, and to run from several "
        "places at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        how = parser.add_mutually_exclusive_group()
        how.add_argument(
            "--check",
            action="store_true",
            help="Change nothing, and exit with 1 if something would change, or if there is a warning, such "
            "as of drift.",
        )
        how.add_argument(
            "--dry-run", action="store_true", help="Print what would be done, and change nothing."
        )
        how.add_argument(
            "--reset",
            metavar="NAME",
            help="Give all fields of this schedule the code's values. Creates it again if it was deleted.",
        )
        parser.add_argument("--json", action="store_true", help="Print a JSON list with all schedules.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Change nothing unless all declarations are valid."""
        is_dry_run = options["check"] or options["dry_run"]
        try:
            if options["reset"] is not None:
                outcomes = [syncing.reset(options["reset"])]
            else:
                outcomes = syncing.sync(dry_run=is_dry_run)
        except (DeclarationError, syncing.UnknownScheduleError) as error:
            raise CommandError(f"Nothing was changed: {error}") from error
        if options["json"]:
            lines = printing.json_lines(_as_json(each) for each in outcomes)
        else:
            lines = change_lines(outcomes, is_dry_run=is_dry_run)
        if printing.write_lines(self.stdout, lines) and not options["json"]:
            for text in (*warnings(outcomes), *_notes(outcomes)):
                self.remark(text, self.style.WARNING)
        if options["check"]:
            _check(outcomes)


def _check(outcomes: Sequence[Outcome]) -> None:
    if count := sum(each.needs_attention for each in outcomes):
        kinds = {_kind(each) for each in outcomes if each.needs_attention}
        noun = kinds.pop() if len(kinds) == 1 else "item"
        subject = f"1 {noun} needs" if count == 1 else f"{count} {noun}s need"
        raise CommandError(f"{subject} attention.")
    if any(unknown_environments()):
        raise CommandError("Correct the names of environments.")


def change_lines(outcomes: Iterable[Outcome], *, is_dry_run: bool = False) -> Iterator[str]:
    """A line for each schedule that was, or would be, changed."""
    for each in outcomes:
        if each.action in ACTIONS:
            reason = [REASONS[each.action]] if each.action in REASONS else []
            changes = [] if each.action is Action.ORPHAN else map(_change, each.changes)
            facts = "; ".join([*reason, *changes])
            text = f"{VERBS[each.action][is_dry_run]} {_kind(each)} {_name(each)}"
            yield f"{text}: {facts}" if facts else text


def warnings(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """A line for each unknown environment, name that is taken, and field that was changed in both places."""
    for text in unknown_environments():
        yield f"{text}, which is not one of ENVIRONMENTS. Schedules may be disabled that should run here."
    for each in outcomes:
        if each.action is Action.NAME_TAKEN:
            yield (
                f"Not created: schedule {each.name} of job {each.job}, because another schedule has its "
                "name. Rename one of them."
            )
        for one in each.drift:
            yield (
                f"Drift: {_kind(each)} {_name(each)}, {one.label}: {_value(one.stored)} is stored, "
                f"{_value(one.code)} is in the code. The stored value stays."
            )


def _notes(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for each in outcomes:
        if each.action is Action.LEAVE_DELETED:
            yield (
                f"Left deleted: schedule {each.name}, which was deleted in the admin. "
                f"`manage.py jobledger sync --reset {each.name}` creates it again."
            )


def _change(one: Difference) -> str:
    return f"{one.label}: {_value(one.stored)} -> {_value(one.code)}"


def _value(text: str) -> str:
    return text or "(empty)"


def _kind(outcome: Outcome) -> str:
    return "calendar" if outcome.is_calendar else "schedule"


def _name(outcome: Outcome) -> str:
    if outcome.stored_name in ("", outcome.name):
        return outcome.name
    return f"{outcome.name} ({outcome.stored_name!r} in the admin)"


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        _kind(outcome): outcome.name,
        "stored_name": outcome.stored_name or None,
        "job": outcome.job or None,
        "action": outcome.action,
        "changes": _json_values(outcome.changes),
        "drift": _json_values(outcome.drift),
        "edited": _json_values(outcome.edited),
    }


def _json_values(found: Iterable[Difference]) -> list[dict[str, str]]:
    return [{"field": each.field, "stored": each.stored, "code": each.code} for each in found]
