"""``jobledger resume``: ends a pause early."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.management import timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Pause
from jobledger.schedules import pausing

NAMES_SHOWN = 5


class Command(OperatorCommand):
    """Prints how many pauses were lifted; on stderr, what is still paused."""

    help = "End the pause of a schedule, or of the whole service. It is an error if it is not paused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which schedule."""
        parser.add_argument("name", nargs="?", help="The schedule's name; without it the whole service.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Resume it."""
        schedule = None if options["name"] is None else timetables.stored(options["name"])
        what = schedule.name if schedule else "The whole service"
        now = timezone.now()
        lifted = pausing.resume(schedule, now=now)
        hindrance = _hindrance(schedule, now)
        if not lifted:
            raise CommandError(f"{what} is not paused.{hindrance and ' ' + hindrance}")
        self.say(f"{what} is resumed: {lifted} pause{'' if lifted == 1 else 's'} lifted.")
        if hindrance:
            self.remark(hindrance)


def _hindrance(schedule: PeriodicTask | None, now: datetime) -> str:
    """What stays paused all the same; empty where nothing does."""
    if schedule is None:
        return _paused_by_themselves(now)
    if pausing.active_pauses(None, now).exists():
        return "But the whole service is paused; `manage.py jobledger resume` without a name lifts that."
    return ""


def _paused_by_themselves(now: datetime) -> str:
    paused = Pause.objects.active_at(now).filter(schedule__isnull=False)
    names = list(paused.order_by("schedule__name").values_list("schedule__name", flat=True).distinct())
    if not names:
        return ""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return f"Paused by themselves: {', '.join(names[:NAMES_SHOWN])}{more}."
