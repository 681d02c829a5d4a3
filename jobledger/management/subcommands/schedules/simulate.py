"""``jobledger simulate``: what would happen to each slot in a period, given policies and pauses."""

import heapq
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError

from jobledger.jobs.declaration import Misfire
from jobledger.management import arguments, printing, timetables
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.timetables import Choice, Timetable
from jobledger.models import Status
from jobledger.models.schedule import MISFIRE_LABELS
from jobledger.reason import MANY, slot_count
from jobledger.runs import reasons
from jobledger.schedules.forecasts.simulation import SimulatedSlot, simulate
from jobledger.schedules.pause_lookup import PauseLookup
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import Verdict

_MISFIRE_HELP = "Missed slots: " + ", ".join(f"{value} ({label})" for value, label in MISFIRE_LABELS) + "."


class Command(OperatorCommand):
    """Prints a line per slot: the slot, what happens to it, when it starts, the schedule, and why."""

    help = (
        "Simulate a period: what would run, be missed or be skipped. Uses the stored policies and pauses. "
        "Prints tab-separated lines: the slot, what happens to it, when it starts (or -), the schedule, and "
        "why."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        timetables.add_arguments(parser)
        parser.add_argument(
            "--from", metavar="TIME", required=True, help=f"The start of the period; {arguments.TIME_HELP}."
        )
        parser.add_argument("--to", metavar="TIME", required=True, help="The end of the period (exclusive).")
        parser.add_argument(
            "--downtime",
            metavar="FROM/TO",
            action="append",
            default=[],
            help="A period during which beat is down; may be given more than once.",
        )
        parser.add_argument(
            "--no-workers",
            metavar="FROM/TO",
            action="append",
            default=[],
            help="A period during which no worker starts runs, because none is there or another run holds "
            "the job; may be given more than once.",
        )
        _add_policy_arguments(parser)
        parser.add_argument("--json", action="store_true", help="Print a JSON list of objects.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the slots in chronological order, and a summary on stderr."""
        choice = timetables.chosen(options, self.warn)
        replay = _replay(choice, options)
        summary = _Summary()
        slots = summary.counted(replay.slots())
        if options["json"]:
            lines = printing.json_lines(_as_json(slot, each) for slot, each in slots)
        else:
            lines = (_line(slot, each) for slot, each in slots)
        if printing.write_lines(self.stdout, lines):
            for note in timetables.chain_notes(choice):
                self.remark(note)
            # Not an error, so without its colour.
            self.remark(str(summary))


def _add_policy_arguments(parser: ArgumentParser) -> None:
    policy = parser.add_argument_group("policy", "Overrides the stored policy, or the default.")
    policy.add_argument("--misfire", choices=[each.value for each in Misfire], help=_MISFIRE_HELP)
    policy.add_argument(
        "--catch-up-limit",
        metavar="N",
        type=arguments.count,
        help="With --misfire all: the maximum number of missed runs to start.",
    )
    policy.add_argument(
        "--starting-deadline",
        metavar="DURATION",
        help=f"How late a run may start, {arguments.DURATION_HELP}.",
    )
    policy.add_argument(
        "--jitter",
        metavar="DURATION",
        help=f"Delay every run by the same amount below this, {arguments.DURATION_HELP}.",
    )


@dataclass(frozen=True, kw_only=True)
class _Replay:
    timetables: Iterable[Timetable]
    start: datetime
    end: datetime
    downtimes: list[tuple[datetime, datetime]]
    no_workers: list[tuple[datetime, datetime]]
    pauses: dict[int | None, list[PausePeriod]]

    def slots(self) -> Iterator[tuple[SimulatedSlot, Timetable]]:
        """Yield the slots of all timetables lazily, in chronological order."""
        slots = (self._slots_of(each) for each in self.timetables)
        return heapq.merge(*slots, key=lambda pair: pair[0].scheduled_for)

    def _slots_of(self, timetable: Timetable) -> Iterator[tuple[SimulatedSlot, Timetable]]:
        slots = simulate(
            rule=timetable.due_rule,
            window=timetable.window,
            policy=timetable.policy,
            pauses=self.pauses.get(timetable.schedule_id, ()),
            identity=timetable.schedule_id or timetable.label,
            start=self.start,
            end=self.end,
            downtimes=self.downtimes,
            queue=replace(timetable.queue, no_workers=self.no_workers),
        )
        return ((slot, timetable) for slot in slots)


@dataclass(kw_only=True)
class _Summary:
    """Counts the slots that pass through it."""

    verdicts: Counter[str] = field(default_factory=Counter)
    is_exact: bool = True
    """False if a slot stands for so many others that they are not all counted."""

    def counted(
        self, slots: Iterable[tuple[SimulatedSlot, Timetable]]
    ) -> Iterator[tuple[SimulatedSlot, Timetable]]:
        for slot, timetable in slots:
            self.verdicts[slot.verdict] += 1 + slot.coalesced
            self.is_exact = self.is_exact and slot.coalesced < MANY
            yield slot, timetable

    def __str__(self) -> str:
        total = self.verdicts.total()
        parts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.verdicts.items()))
        at_least = "" if self.is_exact else "at least "
        return f"{at_least}{total} slot{'' if total == 1 else 's'}" + (f": {parts}" if parts else "")


def _replay(choice: Choice, options: dict[str, Any]) -> _Replay:
    start = arguments.time(options["from"], "--from", choice.zone)
    end = arguments.time(options["to"], "--to", choice.zone)
    if end <= start:
        raise CommandError(f"--to: {options['to']} is not later than --from, {options['from']}")
    overrides = _policy_overrides(options)
    return _Replay(
        timetables=[replace(each, policy=_policy(each.policy, overrides)) for each in choice.timetables],
        start=start,
        end=end,
        downtimes=_periods(options, "downtime", choice.zone),
        no_workers=_periods(options, "no_workers", choice.zone),
        pauses=_pauses(choice.timetables, start),
    )


def _periods(options: dict[str, Any], dest: str, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    option = "--" + dest.replace("_", "-")
    return [arguments.period(text, option, zone) for text in options[dest]]


def _policy_overrides(options: dict[str, Any]) -> dict[str, Any]:
    """The policy's fields that the command line sets."""
    given = {name: options[name] for name in ("misfire", "catch_up_limit", "starting_deadline", "jitter")}
    overrides = {name: value for name, value in given.items() if value is not None}
    if "misfire" in overrides:
        overrides["misfire"] = Misfire(overrides["misfire"])
    for name, option in ("starting_deadline", "--starting-deadline"), ("jitter", "--jitter"):
        if name in overrides:
            overrides[name] = arguments.duration(overrides[name], option)
    return overrides


def _policy(policy: Policy, overrides: dict[str, Any]) -> Policy:
    try:
        return replace(policy, **overrides)
    except ValueError as error:
        raise CommandError(str(error)) from None


def _pauses(selected: Iterable[Timetable], since: datetime) -> dict[int | None, list[PausePeriod]]:
    """The pauses of stored schedules; an expression has none."""
    tasks = {each.schedule_id: each.task for each in selected if each.schedule_id is not None}
    if not tasks:
        return {}
    pauses = PauseLookup(tasks, since)
    return {schedule_id: pauses.of(schedule_id, task) for schedule_id, task in tasks.items()}


def _line(slot: SimulatedSlot, timetable: Timetable) -> str:
    starts = printing.iso_time(slot.started_at, timetable.zone) if slot.started_at else "-"
    earlier = f" (and {slot_count(slot.coalesced)} earlier)" if slot.coalesced else ""
    when = printing.iso_time(slot.scheduled_for, timetable.zone)
    status = Status.EXPIRED if slot.verdict is Verdict.EXPIRED else Status.MISSED
    why = reasons.planned(slot.why, slot.scheduled_for, schedule_name=timetable.label, status=status)
    why = why or ("waited for a worker" if slot.has_waited else "on time")
    return printing.tab_separated(when, slot.verdict, starts, timetable.label, why + earlier)


def _as_json(slot: SimulatedSlot, timetable: Timetable) -> dict[str, Any]:
    return {
        **timetable.as_json(slot.scheduled_for),
        "moved_to": printing.iso_time(slot.moved_to, timetable.zone) if slot.moved_to else None,
        "verdict": slot.verdict,
        "started_at": printing.iso_time(slot.started_at, timetable.zone) if slot.started_at else None,
        "decided_at": printing.iso_time(slot.decided_at, timetable.zone),
        "reason": slot.why.reason,
        "reason_details": slot.why.details,
        "coalesced": slot.coalesced,
    }
