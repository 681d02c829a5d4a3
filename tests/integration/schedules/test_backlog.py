"""A worker hangs while schedules are due every second: no more runs wait than their policies say."""

import signal

from tests.integration.database import rows, uuid_of
from tests.integration.service import Service
from tests.integration.slots import is_settled, newest_slot, statuses, traces_of
from tests.waiting import wait_until

SCHEDULES = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import SchedulePolicy
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
for misfire in "once", "skip", "all":
    made = PeriodicTask.objects.create(name=f"backlog {misfire}", task="probes.trace", interval=second)
    SchedulePolicy.objects.filter(schedule=made).update(
        misfire=misfire, catch_up_limit=2, concurrency="forbid"
    )
"""
EACH = ("once", "skip", "all")
SLOTS = 5


def counts(running: Service, misfire: str) -> dict[str, int]:
    return {status: count for status, (count, _) in statuses(running, f"backlog {misfire}").items()}


def has_enough_slots(running: Service) -> bool:
    return all(sum(counts(running, misfire).values()) >= SLOTS for misfire in EACH)


def test_after_a_worker_hung_only_what_the_policies_keep_is_executed(running: Service) -> None:
    running.processes["worker"].send_signal(signal.SIGSTOP)
    try:
        running.shell(SCHEDULES)
        running.start_beat("beat-before-a-hung-worker")
        wait_until(lambda: has_enough_slots(running), what="slots are recorded")
        running.stop("beat-before-a-hung-worker")
        waiting = {misfire: counts(running, misfire) for misfire in EACH}
    finally:
        running.processes["worker"].send_signal(signal.SIGCONT)
    print(waiting)
    assert {misfire: each["queued"] for misfire, each in waiting.items()} == {"once": 1, "skip": 1, "all": 3}
    last = newest_slot(running, "backlog", "queued")
    assert last
    wait_until(lambda: is_settled(running, "backlog", last), what="all of their runs are over")
    ended = {misfire: counts(running, misfire) for misfire in EACH}
    print(ended)
    assert ended["once"] == {"missed": waiting["once"]["missed"], "succeeded": 1}
    assert ended["skip"] == {"expired": waiting["skip"]["expired"], "succeeded": 1}
    # Of those that start together, all but one are skipped.
    assert ended["all"]["missed"] == waiting["all"]["missed"]
    given_up = rows(running, "SELECT id FROM jobledger_run WHERE status IN ('missed', 'expired')")
    assert not {uuid_of(pk) for (pk,) in given_up} & set(traces_of(running))
