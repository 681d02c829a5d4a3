"""``manage.py pause``: nothing of a schedule, or of the whole service, starts by itself for a time."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError
from django.utils import timezone

from jobledger.management import moments, timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Pause
from jobledger.runs.worker.process import operating_system_user
from jobledger.schedules import pausing
from jobledger.schedules.planning.policy import PausedSlots


class Command(OperatorCommand):
    """One line says what is paused, until when, and why."""

    help = (
        "Pause a schedule, or the whole service: nothing of it starts by itself, but by hand it does. "
        "What is paused already stays paused, until the new end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What, until when, and why."""
        parser.add_argument("name", nargs="?", help="The schedule's name; without it the whole service.")
        end = parser.add_mutually_exclusive_group()
        end.add_argument("--for", metavar="DURATION", help=f"For so long, {moments.DURATION_HELP}.")
        end.add_argument(
            "--until",
            metavar="MOMENT",
            help=f"{moments.MOMENT_HELP}. Default, without --for: until somebody resumes it.",
        )
        parser.add_argument(
            "--tz",
            metavar="ZONE",
            help="The zone of --until and of the answer. Default: the schedule's own zone, else TIME_ZONE.",
        )
        parser.add_argument("--reason", default="", help="Kept with the pause and with the slots it stops.")
        parser.add_argument(
            "--on-resume",
            choices=[each.value for each in PausedSlots],
            help="When the pause ends: skip its slots, the default, or run the latest of them once.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Pause, and say so."""
        schedule = None if options["name"] is None else timetables.stored(options["name"])
        zone = timetables.own_zone(schedule) if schedule else timezone.get_default_timezone()
        if options["tz"] is not None:
            zone = moments.zone(options["tz"], "--tz")
        _check_length(options["reason"])
        now = timezone.now()
        terms = pausing.Terms(
            until=_until(options, zone, now),
            reason=options["reason"],
            who=operating_system_user(),
            on_resume=PausedSlots(options["on_resume"]) if options["on_resume"] else None,
        )
        pause, is_new = pausing.pause(schedule, terms, now=now)
        self.stdout.write(_told(pause, zone, is_new=is_new))


def _until(options: dict[str, Any], zone: ZoneInfo, now: datetime) -> datetime | None:
    if options["for"] is not None:
        length = moments.duration(options["for"], "--for")
        if not length:
            raise CommandError("--for: a pause takes longer than no time")
        return (now + length).replace(microsecond=0)
    if options["until"] is None:
        return None
    until = moments.moment(options["until"], "--until", zone)
    if until <= now:
        raise CommandError(f"--until: {moments.shown(until, zone)} is in the past")
    return until


def _check_length(reason: str) -> None:
    longest = Pause._meta.get_field("reason").max_length
    if longest is not None and len(reason) > longest:
        raise CommandError(f"--reason: it is longer than {longest} characters")


def _told(pause: Pause, zone: ZoneInfo, *, is_new: bool) -> str:
    what = pause.schedule.name if pause.schedule else "The whole service"
    until = "somebody resumes it"
    if pause.until is not None:
        until = moments.shown(pause.until, zone)
    manner = "is paused" if is_new else "was paused already; now it is paused"
    return f"{what} {manner} until {until}" + (f": {pause.reason}" if pause.reason else "")
