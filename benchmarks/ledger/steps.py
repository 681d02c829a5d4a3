"""The part of ``benchmarks.ledger`` that runs inside the service: what is sent for a run, step by step."""

import os
import sys
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from benchmarks.ledger.costs import Costs
    from jobledger.models import Run

RUNNING = 200
TEXT = "1,204 tokens deleted (cutoff=2026-10-29)\n"


def main() -> None:
    """Migrate the database, execute so many runs of each kind, or of some, and print what they have cost."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    count, *names = sys.argv[1:]
    for name in names or KINDS:
        _report(name, int(count))


def one_by_one(count: int, costs: "Costs") -> None:
    """A run is recorded, claimed and ended before the next one is due."""
    from jobledger.schedules.due import due_alone

    first = _make_schedules("stamp", 1)
    for number in range(count):
        now = first + number * timedelta(minutes=1)
        with costs.step("slot"):
            (run,) = due_alone.record(now).queued  # type: ignore[union-attr]  # it is ordinary
        _count([run], now, costs)
        _execute(run, costs)


def all_at_once(count: int, costs: "Costs") -> None:
    """All runs are recorded and published before the first of them is claimed."""
    from jobledger.runs.publishing import publisher
    from jobledger.schedules.due import ledger

    now = _make_schedules("noop", count)
    runs = list["Run"]()
    with costs.step("slot"):
        while recorded := ledger.record_due(now).queued:
            runs += recorded
    _count(runs, now, costs)
    with costs.step("mark"):
        publisher.mark_published(runs)
    for run in runs:
        _execute(run, costs)


def side_by_side(count: int, costs: "Costs") -> None:
    """One run after another is recorded and claimed, while many others are running."""
    from jobledger.schedules.due import ledger

    first = _make_schedules("noop", 1)
    running = deque["Run"]()
    for number in range(count):
        now = first + number * timedelta(minutes=1)
        with costs.step("slot"):
            (run,) = ledger.record_due(now).queued
        _count([run], now, costs)
        running.append(_claim(run, costs))
        if len(running) > RUNNING // 2:
            _beat(running[-RUNNING // 2], costs)
        if len(running) > RUNNING:
            _end(running.popleft(), costs)
    for run in list(running)[-RUNNING // 2 + 1 :]:
        _beat(run, costs)
    for run in running:
        _end(run, costs)


def _make_schedules(task: str, count: int) -> datetime:
    """Create schedules that are all due at the time that is returned, and every minute from then on."""
    from django.utils import timezone
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    from jobledger.jobs import registry
    from jobledger.models import NextSlot
    from jobledger.schedules.due import ledger

    crontab = CrontabSchedule.objects.create(minute="*")
    name = registry.all_jobs()[task].task_name
    known = PeriodicTask.objects.count()
    schedules = PeriodicTask.objects.bulk_create(
        PeriodicTask(name=f"{task} {number}", task=name, crontab=crontab)
        for number in range(known, known + count)
    )
    now = timezone.now().replace(second=0, microsecond=0)
    NextSlot.objects.update(due_at=None)
    ledger.sync([schedule.pk for schedule in schedules], now - timedelta(seconds=1))
    return now


def _count(runs: "Sequence[Run]", now: datetime, costs: "Costs") -> None:
    from jobledger.schedules.due import ledger

    with costs.step("run counts"):
        ledger.update_run_counts(runs, now)


def _execute(queued: "Run", costs: "Costs") -> None:
    """What a worker sends for a run that lasts for one heartbeat, and writes one line."""
    run = _claim(queued, costs)
    _beat(run, costs)
    _end(run, costs)


def _claim(queued: "Run", costs: "Costs") -> "Run":
    from jobledger.jobs import registry
    from jobledger.runs.execution import claims

    with costs.step("claim"):
        run = claims.claim(queued.pk, worker="w1@host", job=registry.all_jobs()[queued.job])
    assert run is not None
    return run


def _end(run: "Run", costs: "Costs") -> None:
    from jobledger.models import Stream
    from jobledger.runs import attempts
    from jobledger.runs.outcome import SUCCESS
    from jobledger.runs.output import recorder

    with costs.step("output"):
        recorder.save(run.pk, run.attempt, 1, [recorder.Piece(stream=Stream.STDOUT, text=TEXT)])
    with costs.step("end"):
        assert attempts.end(run, SUCCESS)


def _beat(run: "Run", costs: "Costs") -> None:
    from jobledger.models import Run
    from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog
    from jobledger.runs.lease.interrupts import Interrupter
    from jobledger.runs.limits import of_run
    from jobledger.runs.output.recorder import OutputRecorder
    from jobledger.runs.processes.process_tree import ProcessTree
    from jobledger.runs.processes.resources import Meter

    log, tree = OutputLog(run, OutputRecorder(1000)), ProcessTree(run.pk, is_nested=False)
    heartbeat = Heartbeat(run, log, Interrupter(), tree, of_run(run), Meter())
    with costs.step("heartbeat"):
        heartbeat.beat()
    assert Run.objects.filter(pk=run.pk, heartbeat_at__gt=run.heartbeat_at).exists()


def _report(name: str, count: int) -> None:
    from benchmarks.ledger import costs
    from jobledger.runs.ledger_connection import ledger_connection

    found, (title, execute) = costs.Costs(), KINDS[name]
    # One for all runs, as a worker's child has it.
    with ledger_connection():
        costs.row("CHECKPOINT")
        before = costs.states()
        execute(count, found)
        print(f"{title}:\n\n{costs.table_of_steps(found, count)}\n")
        print(f"{costs.table_of_tables(before, count)}\n", flush=True)


KINDS = {
    "one-by-one": ("One after another, of a job that must not overlap", one_by_one),
    "at-once": ("All due at once, of a job that may overlap", all_at_once),
    "side-by-side": (f"One after another, while {RUNNING} others are running", side_by_side),
}


if __name__ == "__main__":
    main()
