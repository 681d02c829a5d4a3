"""``jobledger backfill``: runs past slots of a schedule, lists such backfills, and cancels them."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError
from django.db import transaction
from django.db.models import Q
from django_celery_beat.models import PeriodicTask

from jobledger import clock, formats
from jobledger.admin import audit_log
from jobledger.management import arguments, printing, timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Backfill, Trigger
from jobledger.runs.identity import operating_system_user
from jobledger.schedules.audit import command_line_user
from jobledger.schedules.backfills import backfilling, past_slots
from jobledger.schedules.backfills.backfilling import MAX_PARALLEL, Terms
from jobledger.schedules.backfills.past_slots import BackfillError, Decision, PastSlot, PastSlots
from jobledger.schedules.backfills.progress import Progress, progress_of, status_of, zone_of_backfill
from jobledger.schedules.words import zone_of

USAGE_EXIT_CODE = 2
"""As with argparse's own errors: nothing was started."""
STARTED_AT_ONCE = 100
"""More runs than this are started only after a confirmation."""
LISTED = 20


class Command(OperatorCommand):
    """Prints the slots with ``--dry-run``, or else what was started."""

    help = (
        "Run the past slots of a schedule that have not succeeded. Each gets a run of its own, oldest first, "
        "which knows the time that it was scheduled for."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="The schedule's name.")
        parser.add_argument("--from", metavar="TIME", help=f"The start of the range; {arguments.TIME_HELP}.")
        parser.add_argument("--to", metavar="TIME", help="The end of the range (exclusive). Default: now.")
        parser.add_argument(
            "--tz", metavar="ZONE", help="The zone of times without an offset. Default: the schedule's own."
        )
        parser.add_argument(
            "--parallel",
            metavar="N",
            type=arguments.count,
            default=1,
            help="How many of its runs may be queued or running at once. Default: %(default)s.",
        )
        parser.add_argument(
            "--covered",
            action="store_true",
            help="Also run slots for which another run stands, as for missed runs with the policy “once”.",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Print each slot and what would be done, and start nothing.",
        )
        parser.add_argument(
            "--yes", action="store_true", help=f"Do not ask before more than {STARTED_AT_ONCE} runs."
        )
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--list", action="store_true", help=f"List the last {LISTED} backfills, newest first."
        )
        instead.add_argument(
            "--cancel", metavar="ID", help="Cancel the backfill with this number, and its live runs."
        )
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exits with 2 if nothing was started because of what was asked for."""
        try:
            if options["list"]:
                self._list(options)
            elif options["cancel"] is not None:
                self._cancel(options["cancel"])
            else:
                self._backfill(options)
        except printing.OutputError:
            raise
        except CommandError as error:
            raise CommandError(str(error), returncode=USAGE_EXIT_CODE) from error
        except BackfillError as error:
            # Only of an option that was given: the end has a default.
            option = f"--{error.field}: " if error.field and options[error.field] is not None else ""
            raise CommandError(f"{option}{error}", returncode=USAGE_EXIT_CODE) from error

    def _backfill(self, options: dict[str, Any]) -> None:
        if options["name"] is None or options["from"] is None:
            raise CommandError("give the schedule's name and --from, or --list, or --cancel")
        schedule = timetables.stored(options["name"])
        zone, now = zone_of(schedule), clock.now()
        if options["tz"] is not None:
            zone = arguments.zone(options["tz"], "--tz")
        terms = _terms(options, zone, now)
        found = past_slots.past_slots(
            schedule, terms.since, terms.until, now=now, includes_covered=terms.includes_covered
        )
        if options["dry_run"]:
            self._print_slots(found, zone, as_json=options["json"])
        else:
            if not options["yes"]:
                self._confirm(len(found.to_run))
            self._start(schedule, terms, now, as_json=options["json"])
        self._print_notes(found)

    def _print_slots(self, found: PastSlots, zone: ZoneInfo, *, as_json: bool) -> None:
        if as_json:
            lines = printing.json_lines(_slot_as_json(each, zone) for each in found.slots)
        else:
            lines = (_slot_line(each, zone) for each in found.slots)
        if printing.write_lines(self.stdout, lines):
            run = len(found.to_run)
            self.remark(f"{_counted(run)} would start; {len(found.slots) - run} left out.")

    def _print_notes(self, found: PastSlots) -> None:
        if count := found.count(Decision.COVERED):
            covered = _counted(count, "slot")
            self.remark(f"{covered} left out because another run stands for it; see --covered.")
        if not found.learns_slot:
            self.warn("Note: the job is a plain command, which does not learn the time of its slot.")
        if found.forgotten:
            unknown = _counted(found.forgotten, "slot")
            self.warn(f"Note: {unknown} may have succeeded: runs of that age are no longer kept (KEEP_DAYS).")
        if found.elsewhere:
            others = f"{_counted(found.elsewhere)} on record for other times in this range"
            self.warn(f"Note: the schedule has {others}, from before it was edited. They are not considered.")

    def _confirm(self, count: int) -> None:
        """Ask if there are many."""
        runs = _counted(count)
        if count > STARTED_AT_ONCE:
            self.confirm(f"Start {runs}?", effect=f"{runs} would start", otherwise="nothing was started")

    def _start(self, schedule: PeriodicTask, terms: Terms, now: datetime, *, as_json: bool) -> None:
        with transaction.atomic():
            backfill = backfilling.start(schedule, terms, now=now)
            progress = progress_of([backfill])[backfill.pk]
            text = f"Started backfill {backfill.pk}: {_counted(progress.total)}."
            audit_log.log_action(command_line_user(), [schedule, backfill], text)
        if as_json:
            printing.write_lines(self.stdout, [printing.json_text(_as_json(backfill, progress), indent=2)])
        else:
            left_out = f"{_counted(backfill.left_out, 'slot')} left out"
            self.say(f"Started backfill {backfill.pk}: {_counted(progress.total)}; {left_out}.")
        if terms.parallel > 1 and backfilling.runs_alone(schedule):
            self.remark(f"Runs of {backfill.job} must not overlap, so they start one after the other.")
        if why := backfilling.why_waiting(backfill, now):
            self.remark(f"It waits: {why}.")

    def _list(self, options: dict[str, Any]) -> None:
        backfills = Backfill.objects.select_related("schedule__crontab").order_by("-pk")
        if (name := options["name"]) is not None:
            # It may have been renamed since, or deleted.
            backfills = backfills.filter(Q(schedule_name=name) | Q(schedule__name=name))
        found = list(backfills[:LISTED])
        if name is not None and not found:
            timetables.stored(name)
        progress = progress_of(found)
        if options["json"]:
            lines = printing.json_lines(_as_json(each, progress[each.pk]) for each in found)
        else:
            lines = (_line(each, progress[each.pk]) for each in found)
        printing.write_lines(self.stdout, lines)

    def _cancel(self, text: str) -> None:
        backfill = (
            Backfill.objects.select_related("schedule").filter(pk=int(text)).first()
            if _is_number(text)
            else None
        )
        if backfill is None:
            raise CommandError(f"there is no backfill {text!r}; --list lists them")
        user = operating_system_user()
        with transaction.atomic():
            is_cancelled = backfilling.cancel(backfill, trigger=Trigger.CLI, username=user, now=clock.now())
            if is_cancelled:
                targets = [backfill, *([backfill.schedule] if backfill.schedule else [])]
                audit_log.log_action(command_line_user(), targets, f"Cancelled backfill {backfill.pk}.")
        if not is_cancelled:
            state = "was already cancelled" if backfill.cancelled_at else "has already ended"
            raise CommandError(f"backfill {backfill.pk} {state}")
        self.say(f"Backfill {backfill.pk} was cancelled; runs of it that are running end within seconds.")


def _terms(options: dict[str, Any], zone: ZoneInfo, now: datetime) -> Terms:
    if options["parallel"] > MAX_PARALLEL:
        raise CommandError(f"--parallel: {options['parallel']} is more than {MAX_PARALLEL}")
    return Terms(
        since=arguments.time(options["from"], "--from", zone),
        until=now if options["to"] is None else arguments.time(options["to"], "--to", zone),
        parallel=options["parallel"],
        includes_covered=options["covered"],
        trigger=Trigger.CLI,
        username=operating_system_user(),
    )


def _slot_line(each: PastSlot, zone: ZoneInfo) -> str:
    verdict = "run" if each.decision is Decision.RUN else "left out"
    return printing.tab_separated(printing.iso_time(each.slot, zone), verdict, past_slots.why(each))


def _slot_as_json(each: PastSlot, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "slot": printing.iso_time(each.slot, zone),
        "decision": each.decision,
        "run": str(each.run_id) if each.run_id else None,
        "status": each.status,
        "difference": each.difference,
    }


def _line(backfill: Backfill, progress: Progress) -> str:
    zone = zone_of_backfill(backfill)
    return printing.tab_separated(
        str(backfill.pk),
        backfill.schedule_name,
        formats.exact(backfill.since, zone),
        formats.exact(backfill.until, zone),
        status_of(backfill, progress).label,
        str(progress),
    )


def _as_json(backfill: Backfill, progress: Progress) -> dict[str, Any]:
    times = ("since", "until", "created_at", "cancelled_at", "ended_at")
    return {
        "id": backfill.pk,
        "schedule": backfill.schedule_name,
        "job": backfill.job,
        "status": status_of(backfill, progress),
        "parallel": backfill.parallel,
        "left_out": backfill.left_out,
        "user": backfill.username or None,
        **{name: time.isoformat() if (time := getattr(backfill, name)) else None for name in times},
        "slots": progress.total,
        "counts": {name.replace(" ", "_"): count for name, count in sorted(progress.counts.items())},
    }


def _counted(count: int, noun: str = "run") -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= arguments.MAX_DIGITS
