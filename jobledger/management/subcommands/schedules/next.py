"""``jobledger next``: when schedules are due next."""

import heapq
from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from typing import Any

from django.utils import timezone

from jobledger import clock
from jobledger.formats import as_sentence
from jobledger.health import clocks
from jobledger.jobs import registry
from jobledger.management import arguments, printing, timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.timetables import Choice, Timetable
from jobledger.models import NextSlot, Pause
from jobledger.reason import slot_count
from jobledger.schedules.rules.calendar_rule import HORIZON, CalendarRule
from jobledger.schedules.rules.chained import Chained
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import RESOLUTION, next_slot
from jobledger.schedules.rules.surprises import all_surprises

MAX_LEFT_OUT = 5


class Command(OperatorCommand):
    """Prints a line per time; for all schedules together, with the schedule's name."""

    help = (
        "Print when schedules are due next. Covers all enabled schedules, unless a schedule or a cron "
        "expression is given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        timetables.add_arguments(parser)
        parser.add_argument(
            "--from",
            metavar="TIME",
            help=f"Print times from this one on; {arguments.TIME_HELP}. Default: now.",
        )
        parser.add_argument(
            "--count", type=arguments.count, default=5, help="How many to print. Default: %(default)s."
        )
        parser.add_argument("--json", action="store_true", help="Print a JSON list of objects.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the slots in chronological order."""
        choice = timetables.chosen(options, self.warn)
        start, handled = timezone.now(), dict[int | None, datetime]()
        if options["from"] is None:
            handled = self._handled_until(choice)
        else:
            start = arguments.time(options["from"], "--from", choice.zone)
        slots = (_slots(each, max(start, handled.get(each.schedule_id, start))) for each in choice.timetables)
        rest = islice(heapq.merge(*slots, key=lambda pair: pair[0]), options["count"])
        # Printed one by one, however many there are.
        first = list(islice(rest, 1))
        found = chain(first, rest)
        if options["json"]:
            lines = printing.json_lines(_as_json(slot, each) for slot, each in found)
        else:
            lines = (_line(slot, each, is_single=choice.is_single) for slot, each in found)
        if printing.write_lines(self.stdout, lines):
            for note in timetables.chain_notes(choice):
                self.remark(note)
            if not first:
                self._warn_of_never(choice, start)
            self._warn_of_surprises(choice, start)
            self._warn_of_pauses(choice)
            self._tell_of_what_is_left_out(choice, start)

    def _handled_until(self, choice: Choice) -> dict[int | None, datetime]:
        """After which time each of the schedules starts anything, where that is later than now.

        It is after the database's clock was set back: what was due before is on record already.
        """
        ids = [each.schedule_id for each in choice.timetables if each.schedule_id is not None]
        if not ids:
            return {}
        now = clock.now()
        rows = NextSlot.objects.filter(pk__in=ids, handled_until__gt=now + clock.MAX_OFFSET)
        found = dict[int | None, datetime](rows.values_list("pk", "handled_until"))
        for problem in clocks.set_back(max(found.values(), default=None), now):
            self.warn(f"Note: {problem.text} {problem.advice}")
        return {pk: at + RESOLUTION for pk, at in found.items()}

    def _warn_of_never(self, choice: Choice, start: datetime) -> None:
        """A single schedule that has times of its own, but none from then on."""
        if not choice.is_single or isinstance(choice.timetables[0].rule, Chained):
            return
        timetable = choice.timetables[0]
        has_base = next_slot(timetable.rule, start - RESOLUTION, window=timetable.window) is not None
        why = "its calendars leave no time for it" if has_base else "it is never due from then on"
        self.warn(f"{timetable.label!r} does not run: {why}.")

    def _warn_of_surprises(self, choice: Choice, start: datetime) -> None:
        """Of all schedules together, ``manage.py check`` reports them."""
        rule = choice.timetables[0].rule if choice.is_single else None
        if isinstance(rule, Cron):
            for surprise in all_surprises(rule, start):
                self.warn(f"Note: {as_sentence(surprise)}")

    def _tell_of_what_is_left_out(self, choice: Choice, start: datetime) -> None:
        """What calendars leave out before the last of the times printed; of a single schedule only."""
        timetable = choice.timetables[0] if choice.is_single else None
        rule = timetable.due_rule if timetable else None
        if timetable is None or not isinstance(rule, CalendarRule):
            return
        for each in islice(rule.left_out(start - RESOLUTION, start + HORIZON), MAX_LEFT_OUT):
            at = printing.iso_time(each.slot, timetable.zone)
            earlier = f" and {slot_count(each.count - 1)} before it that day" if each.count > 1 else ""
            self.remark(f"Left out: {at}{earlier}, {each.name} (calendar {each.calendar})")

    def _warn_of_pauses(self, choice: Choice) -> None:
        """The printed slots ignore pauses, during which nothing runs."""
        tasks = {each.schedule_id: each.task for each in choice.timetables if each.schedule_id is not None}
        if not tasks:
            return
        is_any_subject = not all(registry.runs_while_paused(task) for task in tasks.values())
        for pause in Pause.objects.active_at(timezone.now()).select_related("schedule"):
            if is_any_subject if pause.schedule_id is None else pause.schedule_id in tasks:
                self.warn(f"Note: {pause}")


def _slots(timetable: Timetable, start: datetime) -> Iterator[tuple[datetime, Timetable]]:
    return ((slot, timetable) for slot in timetable.slots_from(start))


def _as_json(slot: datetime, timetable: Timetable) -> dict[str, Any]:
    origin = timetable.moved_from(slot)
    moved_from = printing.iso_time(origin, timetable.zone) if origin else None
    return {**timetable.as_json(slot), "moved_from": moved_from}


def _line(slot: datetime, timetable: Timetable, *, is_single: bool) -> str:
    time = printing.iso_time(slot, timetable.zone)
    return time if is_single else printing.tab_separated(time, timetable.label)
