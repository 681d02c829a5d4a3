"""How long after its time a job starts whose schedule is due alone, with an idle worker."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import services
from benchmarks.rows.row import Figure, Plan, Row, Target
from tests.integration.service import Service
from tests.waiting import wait_until

EVERY_SECONDS = 2
WARM_UP = 5
"""Runs that are not measured: they were due before everything was ready, or import the job."""
SCHEDULES = """
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
often = IntervalSchedule.objects.create(every={every}, period="seconds")
PeriodicTask.objects.create(name="often", task="{task}", args='{args}', interval=often)
yearly = CrontabSchedule.objects.create(minute="0", hour="0", day_of_month="1", month_of_year="1")
for number in range(20):
    PeriodicTask.objects.create(name=f"yearly {{number}}", task="{task}", args='{args}', crontab=yearly)
"""
OF_PEER = ("--scheduler", "benchmarks.peer.schedulers:NotingScheduler")


def _measure(plan: Plan, database: str) -> Iterator[Figure]:
    count, warm_up = plan.size(100, 1), plan.size(WARM_UP, 0)
    with services.side_by_side(services.OURS, services.PEER, WORKER_CONCURRENCY="1") as both:
        here, peer = both
        _begin(here, task="jobs.stamp", args="[]")
        _begin(peer, *OF_PEER, task="benchmarks.peer.tasks.command", args='["stamp"]')
        for each in both:
            wait_until(lambda each=each: len(_noted(each, "handled")) > warm_up, what="runs have started")  # type: ignore[misc]
        begun_at = time.time()
        time.sleep(EVERY_SECONDS * count)
        latencies = [_latencies(each, count, begun_at) for each in both]
    for title, percent in ("median", 50), ("99th percentile", 99):
        ours, others = (_percentile(each, percent) * 1000 for each in latencies)
        yield Figure(
            title=f"due to first line of `handle()`, {database}, {title}, ms",
            here=ours,
            peer=others,
            peer_title="stock beat and a bare task",
            target=Target(limit=1.5 if database == "postgres" else 2),
        )


def _begin(running: Service, *flags_of_beat: str, task: str, args: str) -> None:
    running.shell(SCHEDULES.format(every=EVERY_SECONDS, task=task, args=args))
    running.start_worker()
    running.start_beat("beat", *flags_of_beat)


def _latencies(running: Service, count: int, begun_at: float) -> list[float]:
    """Seconds from each due time since then to the start of its run, which are in the same order."""

    def measured() -> list[float]:
        pairs = zip(_noted(running, "due"), _noted(running, "handled"), strict=False)
        found = [at - since for since, at in pairs if since > begun_at]
        return found[:count] if len(found) >= count else []

    return wait_until(measured, what="all runs have started")


def _noted(running: Service, kind: str) -> list[float]:
    file = Path(f"{running.trace_file}-{kind}")
    return list(map(float, file.read_text().split())) if file.exists() else []


def _percentile(values: Sequence[float], percent: int) -> float:
    return sorted(values)[min(len(values) * percent // 100, len(values) - 1)]


ROWS = (Row(name="latency", databases=("sqlite", "postgres"), measure=_measure),)
