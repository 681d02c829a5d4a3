"""``jobledger pause``: no scheduled runs of one schedule, or of the whole service, for a time."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger.jobs.declaration import PausedSlots
from jobledger.management import arguments, printing, timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Pause, pause_terms
from jobledger.runs.dispatch import operating_system_user
from jobledger.schedules import pausing


class Command(OperatorCommand):
    """Prints one line: what is paused, until when, and why."""

    help = (
        "Pause a schedule, or the whole service. Nothing of it starts on schedule; what a user starts runs. "
        "Pausing again sets a new end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What, until when, and why."""
        parser.add_argument("name", nargs="?", help="The schedule's name; without it the whole service.")
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--for", metavar="DURATION", help=f"For so long, {arguments.DURATION_HELP}.")
        end.add_argument(
            "--until",
            metavar="TIME",
            help=f"{arguments.TIME_HELP}. Default, without --for: until it is resumed.",
        )
        parser.add_argument(
            "--tz",
            metavar="ZONE",
            help="The zone of --until and of the output. Default: the schedule's own zone, else TIME_ZONE.",
        )
        parser.add_argument("--reason", default="", help="Kept with the pause and the runs it skips.")
        parser.add_argument(
            "--on-resume",
            choices=[each.value for each in PausedSlots],
            help="At its end: skip what was due meanwhile, which is the default, or run it once.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Pause it."""
        schedule = None if options["name"] is None else timetables.stored(options["name"])
        zone = timetables.own_zone(schedule) if schedule else timezone.get_default_timezone()
        if options["tz"] is not None:
            zone = arguments.zone(options["tz"], "--tz")
        _check_length(options["reason"])
        now = timezone.now()
        terms = pausing.Terms(
            until=_until(options, zone, now),
            reason=options["reason"],
            who=operating_system_user(),
            on_resume=PausedSlots(options["on_resume"]) if options["on_resume"] else None,
        )
        pause, is_new = pausing.pause(schedule, terms, now=now)
        self.say(_formatted(pause, zone, is_new=is_new))


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
    longest = Pause._meta.get_field("reason").max_length
    if longest is not None and len(reason) > longest:
        raise CommandError(f"--reason: it is longer than {longest} characters")


def _formatted(pause: Pause, zone: ZoneInfo, *, is_new: bool) -> str:
    what = pause.schedule.name if pause.schedule else "The whole service"
    manner = "is paused" if is_new else "was paused already; now it is paused"
    until = printing.iso_time(pause.until, zone) if pause.until else None
    return f"{what} {manner} {pause_terms(until, reason=pause.reason)}"
