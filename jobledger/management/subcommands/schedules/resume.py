"""``jobledger resume``: ends a pause early."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.admin import audit_log
from jobledger.management import timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import Pause
from jobledger.schedules import pausing
from jobledger.schedules.audit import command_line_user

MAX_NAMES = 5


class Command(OperatorCommand):
    """Prints how many pauses were ended, and on stderr what is still paused."""

    help = "End the pause of a schedule, or of the whole service. Fails if it is not paused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", nargs="?", help="The schedule's name. Default: the whole service.")

    def handle(self, *args: Any, **options: Any) -> None:
        schedule = None if options["name"] is None else timetables.stored(options["name"])
        what = schedule.name if schedule else "The whole service"
        now = clock.now()
        with transaction.atomic():
            active = list(pausing.active_pauses(schedule, now))
            ended = pausing.resume(schedule, now=now)
            text = "Resumed." if schedule else "Resumed the whole service."
            targets = [schedule] if schedule else active
            audit_log.log_action(command_line_user(), targets if ended else [], text)
        still_paused = _still_paused(schedule, now)
        if not ended:
            raise CommandError(f"{what} is not paused.{still_paused and ' ' + still_paused}")
        self.say(
            f"Resumed {schedule.name if schedule else 'the whole service'}: ended {ended} "
            f"pause{'' if ended == 1 else 's'}."
        )
        if still_paused:
            self.remark(still_paused)


def _still_paused(schedule: PeriodicTask | None, now: datetime) -> str:
    """A message about other pauses; empty if there are none."""
    if schedule is None:
        return _paused_schedules(now)
    if pausing.active_pauses(None, now).exists():
        return "The whole service is still paused; `manage.py jobledger resume` without a name resumes it."
    return ""


def _paused_schedules(now: datetime) -> str:
    paused = Pause.objects.active_at(now).filter(schedule__isnull=False)
    names = list(paused.order_by("schedule__name").values_list("schedule__name", flat=True).distinct())
    if not names:
        return ""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"Schedules that are still paused: {', '.join(names[:MAX_NAMES])}{more}."
