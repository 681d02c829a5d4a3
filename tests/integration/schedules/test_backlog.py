"""A worker hangs while schedules are due every second: no more runs wait than their policies say."""

import signal

from tests.integration.database import can_write, rows, uuid_of
from tests.integration.service import Service
from tests.integration.slots import statuses, traces_of
from tests.waiting import wait_until

SCHEDULES = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import SchedulePolicy
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
# Jobs of their own, so that they do not exclude each other.
for misfire, job in ("once", "trace"), ("skip", "probe"), ("all", "queueing"):
    made = PeriodicTask.objects.create(name=f"backlog {misfire}", task=f"probes.{job}", interval=second)
    SchedulePolicy.objects.filter(schedule=made).update(
        misfire=misfire, catch_up_limit=2, concurrency="forbid"
    )
"""
DISABLE = """
from django_celery_beat.models import PeriodicTask
PeriodicTask.objects.filter(name__startswith="backlog").update(enabled=False)
"""
GIVEN_WAY = "SELECT count(*) FROM jobledger_run WHERE reason = 'superseded'"
EXECUTED = "SELECT id FROM jobledger_run WHERE schedule_name = 'backlog once' AND started_at IS NOT NULL"
EACH = ("once", "skip", "all")
SLOTS = 3


def counts(running: Service, misfire: str) -> dict[str, int]:
    return {status: count for status, (count, _) in statuses(running, f"backlog {misfire}").items()}


def have_given_way(running: Service) -> bool:
    """Whether runs have given way to newer ones, which took over their messages."""
    ((count,),) = rows(running, GIVEN_WAY)
    return bool(count >= SLOTS)


def are_over(running: Service) -> bool:
    return not any(counts(running, misfire).keys() & {"queued", "running"} for misfire in EACH)


def hangs_without_a_lock(running: Service) -> bool:
    """Stop the worker, unless it is just writing: everybody would then have to wait for it."""
    running.processes["worker"].send_signal(signal.SIGSTOP)
    if can_write(running):
        return True
    running.processes["worker"].send_signal(signal.SIGCONT)
    return False


def test_after_a_worker_hung_only_what_the_policies_keep_is_executed(running: Service) -> None:
    running.shell(SCHEDULES)
    wait_until(lambda: hangs_without_a_lock(running), what="the worker hangs")
    try:
        running.start_beat("beat-before-a-hung-worker")
        wait_until(lambda: have_given_way(running), what="runs give way")
        running.stop("beat-before-a-hung-worker")
        waiting = {misfire: counts(running, misfire) for misfire in EACH}
        running.shell(DISABLE)
        # The first one may have ended before it had published what it has recorded last.
        running.start_beat("beat-after-a-hung-worker")
    finally:
        running.processes["worker"].send_signal(signal.SIGCONT)
    print(waiting)
    assert {misfire: each["queued"] for misfire, each in waiting.items()} == {"once": 1, "skip": 1, "all": 3}
    wait_until(lambda: are_over(running), what="all of their runs are over")
    ended = {misfire: counts(running, misfire) for misfire in EACH}
    print(ended)
    for misfire in "once", "skip":
        assert ended[misfire] == {**without_queued(waiting[misfire]), "succeeded": 1}
    # They exclude each other, so they have waited for each other.
    assert ended["all"] == {**without_queued(waiting["all"]), "succeeded": 3}
    ((executed,),) = rows(running, EXECUTED)
    assert traces_of(running)[uuid_of(executed)] == 1


def without_queued(counted: dict[str, int]) -> dict[str, int]:
    return {status: count for status, count in counted.items() if status != "queued"}
