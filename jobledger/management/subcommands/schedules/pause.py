"""``jobledger pause``: stops scheduled runs of one schedule, or of the whole service, for a time."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError
from django.db import transaction
from django.utils import timezone

from jobledger import clock, formats
from jobledger.admin import audit_log
from jobledger.jobs.declaration import PausedSlots
from jobledger.management import arguments, printing, timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Pause, pause_terms
from jobledger.runs.identity import operating_system_user
from jobledger.schedules import pausing
from jobledger.schedules.audit import command_line_user
from jobledger.schedules.words import zone_of


class Command(OperatorCommand):
    """Prints a line: what is paused, until when, and why."""

    help = (
        "Pause a schedule, or the whole service. While it is paused, it starts no scheduled runs; users can "
        "still start runs. Pausing again changes the end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="The schedule's name. Default: the whole service.")
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--for", metavar="DURATION", help=f"How long to pause, {arguments.DURATION_HELP}.")
        end.add_argument(
            "--until",
            metavar="TIME",
            help=f"When the pause ends; {arguments.TIME_HELP}. Default: when it is resumed.",
        )
        parser.add_argument(
            "--tz",
            metavar="ZONE",
            help="The zone of --until and of the output. Default: the schedule's own zone, else TIME_ZONE.",
        )
        parser.add_argument(
            "--reason", default="", help="Recorded with the pause and with the runs that it skips."
        )
        parser.add_argument(
            "--on-resume",
            choices=[each.value for each in PausedSlots],
            help="When the pause ends, skip the runs that were due during it, or run once for all of them. "
            "Default: skip.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        schedule = None if options["name"] is None else timetables.stored(options["name"])
        zone = zone_of(schedule) if schedule else timezone.get_default_timezone()
        if options["tz"] is not None:
            zone = arguments.zone(options["tz"], "--tz")
        _check_length(options["reason"])
        now = clock.now()
        terms = pausing.Terms(
            until=_until(options, zone, now),
            reason=options["reason"],
            username=operating_system_user(),
            on_resume=PausedSlots(options["on_resume"]) if options["on_resume"] else None,
        )
        with transaction.atomic():
            pause, is_new = pausing.pause(schedule, terms, now=now)
            until = formats.exact(terms.until) if terms.until else None
            what = "Paused" if schedule else "Paused the whole service"
            text = f"{what} {pause_terms(until, reason=terms.reason)}."
            audit_log.log_action(command_line_user(), [schedule or pause], text)
        self.say(_formatted(pause, zone, is_new=is_new))
        if schedule is None and (exemptions := pausing.exemptions()):
            self.remark(exemptions)


def _until(options: dict[str, Any], zone: ZoneInfo, now: datetime) -> datetime | None:
    if options["for"] is not None:
        duration = arguments.duration(options["for"], "--for")
        if not duration:
            raise CommandError("--for: a pause must last longer than 0s")
        return (now + duration).replace(microsecond=0)
    if options["until"] is None:
        return None
    until = arguments.time(options["until"], "--until", zone)
    if until <= now:
        raise CommandError(f"--until: {printing.iso_time(until, zone)} is in the past")
    return until


def _check_length(reason: str) -> None:
    max_length = Pause._meta.get_field("reason").max_length
    if max_length is not None and len(reason) > max_length:
        raise CommandError(f"--reason: it is longer than {max_length} characters")


def _formatted(pause: Pause, zone: ZoneInfo, *, is_new: bool) -> str:
    what = pause.schedule.name if pause.schedule else "The whole service"
    state = "is paused" if is_new else "was already paused; it is now paused"
    until = printing.iso_time(pause.until, zone) if pause.until else None
    return f"{what} {state} {pause_terms(until, reason=pause.reason)}"
