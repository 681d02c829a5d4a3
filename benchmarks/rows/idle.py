"""What a beat uses while nothing is due."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from benchmarks import services, statements
from benchmarks.rows.row import Figure, Of, Plan, Row, Target
from tests.integration.service import Service

MIB = 2**20
SETTLING_SECONDS = 20.0
"""What a beat does in its first seconds is not what it does while idle."""
MINUTE = 60.0
SCHEDULES = """
from datetime import timedelta
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask
minute = (timezone.now() + timedelta(minutes=30)).minute
hourly = CrontabSchedule.objects.create(minute=str(minute))
for number in range(20):
    PeriodicTask.objects.create(name=f"schedule {{number}}", task="{task}", crontab=hourly)
"""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """What a beat has used meanwhile."""

    seconds: float
    cpu_seconds: float
    memory_mib: float
    """At the end, without what it shares with other processes."""
    statements: int

    @property
    def cpu_per_minute(self) -> float:
        return self.cpu_seconds / self.seconds * 60


def _beside_stock(plan: Plan, database: str) -> Iterator[Figure]:
    with services.side_by_side(services.OURS, services.PEER) as both:
        for each, task in zip(both, ("tasks_app.hello", "benchmarks.peer.tasks.command"), strict=True):
            each.shell(SCHEDULES.format(task=task))
        here, peer = _idle(both, plan, counts=database == "postgres")
    of_stock = "stock beat, 20 schedules each"
    yield Figure(
        title=f"idle beat, {database}, CPU s in 60 s",
        here=here.cpu_per_minute,
        peer=peer.cpu_per_minute,
        peer_title=of_stock,
        target=Target(limit=0.1, of=Of.VALUE),
    )
    if database == "postgres":
        yield Figure(
            title="idle beat, SQL statements a second",
            here=here.statements / here.seconds,
            peer=peer.statements / peer.seconds,
            peer_title=of_stock,
            target=Target(limit=1.5, of=Of.VALUE),
        )


def _many_schedules(plan: Plan, database: str) -> Iterator[Figure]:
    few, copies = plan.size(100, 10), plan.size(9_999, 2)
    many = few * (1 + copies)
    settings = {"DJANGO_SETTINGS_MODULE": "proj.settings"}
    with services.side_by_side(services.OURS, services.OURS, **settings) as both:
        for each, more in zip(both, (copies, 0), strict=True):
            fill = ("fill", "ours", "--size", str(few), "--copies", str(more))
            services.output_of(each, "benchmarks.scheduler.measure", *fill)
        here, beside = _idle(both, plan, logs_ticks=True)
    for title, value, other in (
        ("CPU s in 60 s", here.cpu_per_minute, beside.cpu_per_minute),
        ("memory, MiB", here.memory_mib, beside.memory_mib),
    ):
        yield Figure(
            title=f"idle beat with {many:,} schedules, {database}, {title}",
            here=value,
            peer=other,
            peer_title=f"the same with {few:,}",
            target=Target(limit=1.2),
        )


def _idle(both: list[Service], plan: Plan, *, counts: bool = False, logs_ticks: bool = False) -> list[Idle]:
    """Of two beats at the same time, after they have started and noticed everything.

    What must look at many schedules first says in its log when it has, but then logs each tick as well.
    """
    flags, text = (("--loglevel", "DEBUG"), "beat: Waking up in") if logs_ticks else ((), "beat: Starting")
    for each in both:
        each.start_beat("idle", *flags)
    started = time.monotonic()
    for each in both:
        services.cpu_until_logged(each, "idle", text)
    time.sleep(plan.size(_seconds_until_midway(time.monotonic() - started), 0))
    before = [_state(each, counts=counts) for each in both]
    time.sleep(plan.size(MINUTE, 0.5))
    after = [_state(each, counts=counts) for each in both]
    for each in both:
        each.stop("idle")
    return [
        Idle(
            seconds=end.seconds - begin.seconds,
            cpu_seconds=end.cpu_seconds - begin.cpu_seconds,
            memory_mib=end.memory_mib,
            statements=end.statements - begin.statements,
        )
        for begin, end in zip(before, after, strict=True)
    ]


def _seconds_until_midway(since_start: float) -> float:
    """Until beats have settled, and it is half a minute past a whole one since they were started.

    A third of what an idle beat uses in a minute is what it does once a minute, from its start on. At the
    edge of the minute that is measured, one beat may have done it already and the other one not yet.
    """
    return SETTLING_SECONDS + (MINUTE / 2 - since_start - SETTLING_SECONDS) % MINUTE


def _state(running: Service, *, counts: bool) -> Idle:
    beat = psutil.Process(running.processes["idle"].pid)
    return Idle(
        seconds=time.monotonic(),
        cpu_seconds=services.cpu_seconds(beat.pid),
        memory_mib=beat.memory_full_info().uss / MIB,
        statements=statements.executed(running) if counts else 0,
    )


ROWS = (
    Row(name="idle-beat", databases=("sqlite", "postgres"), measure=_beside_stock),
    # It creates a million schedules, at which beat looks when it starts.
    Row(
        name="many-schedules",
        databases=("sqlite", "postgres"),
        measure=_many_schedules,
        deadline_seconds=3600,
    ),
)
