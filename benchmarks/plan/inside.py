"""The parts of the measurement that need the service's models: ``python -m benchmarks.plan.inside ACTION``.

Each prepares something, prints a line, waits for one, does the rest, prints what CPU time that took, and
stays until its input ends.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import process_time
from typing import Any

import django

READY = "ready"
STATEMENT_SECONDS = 120
JOB, SCHEDULE = "noop", "schedule "
BATCH = 1000
# As many rows as are claimed, with all columns, as `overlap.start_at_once` does for a single run.
CLAIM_IN_BULK = """
UPDATE jobledger_run SET status = 'running', started_at = now(), heartbeat_at = now(), publish_after = NULL,
    worker = 'bulk@here', worker_identity = 'bulk'
WHERE id = ANY(%s) AND status = 'queued' AND (start_after IS NULL OR start_after <= now())
RETURNING *
"""


def main() -> None:
    """Do what the arguments say. Raises an error of the database if a statement waits for too long."""
    django.setup()
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
    action, *arguments = sys.argv[1:]
    steps = ACTIONS[action](*arguments)
    next(steps)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        raise SystemExit("the measurement has ended without this part")
    began = process_time()
    for _ in steps:
        pass
    sys.stdout.write(f"{json.dumps({'seconds': process_time() - began})}\n")
    sys.stdout.flush()
    sys.stdin.read()


def _schedules(count: str, minute: str) -> Iterator[None]:
    """As many schedules that are due once an hour, in this minute."""
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    from jobledger.jobs import registry

    task, hourly = registry.find(JOB).task_name, CrontabSchedule.objects.create(minute=minute)
    schedules = (
        PeriodicTask(name=f"{SCHEDULE}{number}", task=task, crontab=hourly) for number in range(int(count))
    )
    PeriodicTask.objects.bulk_create(schedules, batch_size=BATCH)
    yield


def _runs(count: str, options: str) -> Iterator[None]:
    """Nothing but as many queued runs, whose messages are sent then; the database is not needed for that."""
    from jobledger.runs.publishing import publisher

    runs = _queued(int(count), json.loads(options))
    publisher.mark_published(runs)
    yield
    publisher.send(runs)


def _claims(count: str, at_once: str) -> Iterator[None]:
    """Claim as many runs, one by one, or some by each statement."""
    from jobledger.jobs import registry
    from jobledger.models import Run, Status
    from jobledger.runs.execution import claims
    from jobledger.runs.ledger_connection import keep_open

    size, job = int(at_once), registry.find(JOB)
    # As a worker's child does.
    keep_open()

    def claim(pks: list[Any]) -> None:
        if size == 1:
            claimed = [claims.claim(pks[0], worker="one@here", job=job)]
        else:
            claimed = list(Run.objects.raw(CLAIM_IN_BULK, [pks]))
        if {run and run.status for run in claimed} != {Status.RUNNING}:
            raise RuntimeError(f"not all runs were claimed: {claimed}")

    pks = [run.pk for run in _queued(int(count) + size, {})]
    # The first one connects and compiles its statement.
    claim(pks[:size])
    yield
    for start in range(size, len(pks), size):
        claim(pks[start : start + size])


def _prune(count: str) -> Iterator[None]:
    """Delete as many runs, which ended long ago."""
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from jobledger.models import Run, Status, Trigger

    _forget()
    number = int(count)
    step = timedelta(days=30) / number
    first = timezone.now() - timedelta(days=120)
    times = (first + step * index for index in range(number))
    old = (
        Run(job=JOB, trigger=Trigger.ADMIN, status=Status.SUCCEEDED, queued_at=at, finished_at=at)
        for at in times
    )
    Run.objects.bulk_create(old, batch_size=BATCH)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    yield
    call_command("prune_runs", stdout=io.StringIO())
    if (left := Run.objects.filter(job=JOB).count()) > 1:
        raise RuntimeError(f"{left} runs were not deleted")


def _queued(count: int, options: dict[str, float]) -> list[Any]:
    """As many runs of the schedules that there are, as beat records them."""
    from django.utils import timezone
    from django_celery_beat.models import PeriodicTask

    from jobledger.models import Run, Trigger

    _forget()
    schedules = list(PeriodicTask.objects.filter(name__startswith=SCHEDULE))
    hour = timezone.now().replace(minute=0, second=0, microsecond=0)
    runs = (
        Run(
            job="work" if options else JOB,
            options=options,
            trigger=Trigger.SCHEDULE,
            schedule=schedules[number % len(schedules)],
            schedule_name=schedules[number % len(schedules)].name,
            scheduled_for=hour - timedelta(hours=number // len(schedules)),
        )
        for number in range(count)
    )
    return Run.objects.bulk_create(runs, batch_size=BATCH)


def _forget() -> None:
    """All runs, and what their tables have grown to."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE jobledger_run CASCADE")


ACTIONS: dict[str, Callable[..., Iterator[None]]] = {
    "schedules": _schedules,
    "runs": _runs,
    "claims": _claims,
    "prune": _prune,
}


if __name__ == "__main__":
    main()
