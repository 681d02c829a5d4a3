"""``manage.py next_slots``: when schedules are due."""

import heapq
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any

from django.utils import timezone

from jobledger.management import moments, printing, timetables
from jobledger.management.commands.runs import positive
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.timetables import Choice, Timetable
from jobledger.models import Pause
from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.slots import RESOLUTION, slots_between


class Command(OperatorCommand):
    """A moment a line; of all schedules together, each moment with its schedule's name."""

    help = "Show the next slots of a schedule, of a cron expression, or of all enabled schedules together."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose slots, from when, how many, and in which form."""
        timetables.add_arguments(parser)
        parser.add_argument(
            "--from",
            metavar="MOMENT",
            help=f"Slots at or after it; {moments.MOMENT_HELP}. Default: now.",
        )
        parser.add_argument("--count", type=positive, default=5, help="How many; default: %(default)s.")
        parser.add_argument("--json", action="store_true", help="A JSON list of objects.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the slots in the order of time."""
        choice = timetables.chosen(options, self.stderr.write)
        start = timezone.now()
        if options["from"] is not None:
            start = moments.moment(options["from"], "--from", choice.zone)
        slots = (_slots(each, start) for each in choice.timetables)
        found = islice(heapq.merge(*slots, key=lambda pair: pair[0]), options["count"])
        if options["json"]:
            lines = printing.json_lines(each.described(slot) for slot, each in found)
        else:
            lines = (_line(slot, each, is_single=choice.is_single) for slot, each in found)
        if printing.write_lines(self.stdout, lines):
            self._warn_of_pauses(choice)

    def _warn_of_pauses(self, choice: Choice) -> None:
        """A slot is a slot also in a pause; but who asks when something runs wants to know."""
        schedule_ids = {each.schedule_id for each in choice.timetables} - {None}
        if not schedule_ids:
            return
        for pause in Pause.objects.open_at(timezone.now()).select_related("schedule"):
            if pause.schedule_id is None or pause.schedule_id in schedule_ids:
                self.stderr.write(f"In force: {pause}")


def _slots(timetable: Timetable, start: datetime) -> Iterator[tuple[datetime, Timetable]]:
    found = slots_between(timetable.rule, start - RESOLUTION, wallclock.LATEST, window=timetable.window)
    return ((slot, timetable) for slot in found)


def _line(slot: datetime, timetable: Timetable, *, is_single: bool) -> str:
    moment = moments.shown(slot, timetable.zone)
    return moment if is_single else printing.tab_separated(moment, timetable.label)
