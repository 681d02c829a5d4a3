"""Lets the Compose stack run for twenty minutes while its parts die: ``python -m benchmarks.soak``.

Nothing may be lost, done twice or told twice. The audit is that of the tests: it compares the clock, the
ledger, and the traces that the jobs left themselves. The report goes to ``benchmarks/soak/report.md``.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.soak import accounting, faults
from benchmarks.soak.accounting import Report
from benchmarks.soak.stack import MemorySamples, SoakStack, brought_up
from tests.integration import ledger
from tests.integration.database import rows, time_of
from tests.integration.service import Service
from tests.integration.slots import Span
from tests.ports import free_port
from tests.waiting import wait_until

REPORT = Path(__file__).with_name("report.md")
CALM_SECONDS = 45.0
"""Without faults, at the end."""
SCHEDULES: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    ("quick one", "allowing", 1, {"seconds": 0.0}),
    ("quick two", "allowing", 2, {"seconds": 0.2}),
    ("steady", "allowing", 5, {"seconds": 2.0}),
    ("overlapping", "lasting", 5, {"seconds": 2.0, "tenant": "overlapping"}),
    ("queueing", "queueing", 6, {"seconds": 2.0, "tenant": "queueing"}),
    ("restarting", "restarting", 20, {"seconds": 12.0, "tenant": "restarting"}),
    ("flaky", "restarting", 15, {"seconds": 0.5, "fail_first": 1, "tenant": "flaky"}),
    ("failing", "restarting", 15, {"seconds": 0.2, "fail_first": 9, "tenant": "failing"}),
    ("composite", "parent", 12, {"seconds": 0.5}),
)
"""Names, jobs, seconds and options: some overlap, wait, fail, are retried, restarted, or call others."""

SET_UP = """
import json
from datetime import timedelta
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import AlertDestination, AlertRule, SchedulePolicy
for each in PeriodicTask.objects.all():
    each.enabled = False
    each.save()
team = AlertDestination.objects.create(name="team", kind="url", url="json://receiver:8080/")
AlertRule.objects.all().delete()
rule = AlertRule.objects.create(name="all", every_failure=True, late_after="00:01:00")
rule.destinations.add(team)
# No schedule has slots from before it was created, and a busy machine takes its time.
start = timezone.now().replace(microsecond=0) + timedelta(seconds=40)
for name, job, seconds, options in {schedules!r}:
    every, _ = IntervalSchedule.objects.get_or_create(every=seconds, period="seconds")
    made = PeriodicTask.objects.create(
        name=name, task=f"probes.{{job}}", interval=every, start_time=start, kwargs=json.dumps(options)
    )
    SchedulePolicy.objects.filter(schedule=made).update(misfire="all", catch_up_limit=1000)
assert timezone.now() < start
print(start.isoformat())
"""
TEAR_DOWN = """
from django_celery_beat.models import PeriodicTask
for each in PeriodicTask.objects.filter(enabled=True):
    each.enabled = False
    each.save()
"""


def main() -> None:
    """Run it, write the report, and fail if it is not clean."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        traces = Path(folder)
        # Written by the containers' user.
        traces.chmod(0o777)
        project = f"soak-{uuid.uuid4().hex[:8]}"
        stack = SoakStack(
            project=project,
            image=f"scheduled-jobs:{project}",
            port=free_port(),
            traces=traces,
            db_port=free_port(),
        )
        with brought_up(stack):
            try:
                report = _soak(stack, options.minutes * 60, random.Random(options.seed))
            except TimeoutError:
                _log(_evidence(stack))
                raise
    page = accounting.markdown(report)
    sys.stdout.write(page)
    options.report.write_text(page)
    sys.exit(not report.is_clean)


def _soak(stack: SoakStack, seconds: float, rng: random.Random) -> Report:
    running = Service(folder=stack.traces, database_url=stack.database_url)
    start = datetime.fromisoformat(stack.shell(SET_UP.format(schedules=SCHEDULES)))
    # Of the sample project's schedules, whose jobs leave no traces.
    before = {row.pk for row in ledger.run_rows(running)}
    wait_until(lambda: ledger.traces(running), what="the first run")
    size, memory, began = _size(running), MemorySamples(stack), time.monotonic()
    with memory.taken():
        done = faults.rage(stack, seconds=seconds - CALM_SECONDS, rng=rng)
        _log(f"faults: {dict(done)}")
        time.sleep(CALM_SECONDS)
    until = datetime.now(UTC).replace(microsecond=0)
    wait_until(lambda: not rows(running, _BEHIND, until), what="all slots are recorded")
    stack.shell(TEAR_DOWN)
    wait_until(lambda: ledger.is_quiet(running), what="every run is over")
    wait_until(lambda: not rows(running, _TO_SEND), what="every alert is sent")
    ended = rows(running, "SELECT status, reason FROM jobledger_run")
    return Report(
        seconds=time.monotonic() - began,
        machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        faults=done,
        slots=_slots(running, start, until),
        audit=ledger.audit(running, before),
        reasons=dict(Counter(": ".join(filter(None, each)) for each in ended).most_common()),
        unexplained=accounting.unexplained_of(ended),
        alerts=_alerts(running),
        memory={kind: accounting.memory_of(samples) for kind, samples in memory.by_kind.items()},
        bytes_per_run=(_size(running) - size) / len(ended),
    )


def _evidence(stack: SoakStack) -> str:
    """What has not ended, and what the processes have said last: all of it is removed with the stack."""
    running = Service(folder=stack.traces, database_url=stack.database_url)
    unfinished = [str(row) for row in rows(running, _UNFINISHED)]
    logs = stack.compose("logs", "--no-color", "--tail", "200", "beat", "worker")
    return "\n".join([f"{len(unfinished)} runs have not ended:", *unfinished[:100], logs])


def _slots(running: Service, start: datetime, until: datetime) -> accounting.Slots:
    seconds_of = {name: seconds for name, _, seconds, _ in SCHEDULES}
    ids = dict(rows(running, "SELECT name, id FROM django_celery_beat_periodictask"))
    expected = [
        (ids[name], slot)
        for name, seconds in seconds_of.items()
        for slot in Span(since=start, until=until, step=timedelta(seconds=seconds))
    ]
    found = rows(running, _SLOTS)
    return accounting.slots_of(expected, [(pk, time_of(slot)) for pk, slot in found])


def _alerts(running: Service) -> accounting.Alerts:
    file = running.folder / "alerts"
    bodies = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    ((alerts,),) = rows(running, "SELECT count(*) FROM jobledger_alert")
    ((messages,),) = rows(running, "SELECT count(DISTINCT message) FROM jobledger_alertdelivery")
    states = Counter(state for (state,) in rows(running, "SELECT state FROM jobledger_alertdelivery"))
    return accounting.alerts_of(
        bodies,
        alerts=alerts,
        messages=messages,
        undelivered=states["failed"] + states["waiting"] + states["sending"],
        uncertain=states["unknown"],
    )


def _size(running: Service) -> int:
    return int(rows(running, "SELECT pg_database_size(current_database())")[0][0])


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the faults")
    parser.add_argument("--report", type=Path, default=REPORT)
    return parser


_SLOTS = "SELECT schedule_id, scheduled_for FROM jobledger_run WHERE schedule_id IS NOT NULL"
_UNFINISHED = """
SELECT now(), id, job, status, reason, attempt, queued_at, publish_after, publish_count, started_at,
    heartbeat_at, worker, cancel_requested_at
FROM jobledger_run WHERE status IN ('queued', 'running') ORDER BY queued_at
"""
_BEHIND = "SELECT schedule_id FROM jobledger_nextslot WHERE handled_until < ? AND broken = ''"
_TO_SEND = "SELECT id FROM jobledger_alertdelivery WHERE state IN ('waiting', 'sending')"

if __name__ == "__main__":
    main()
