"""How many SQL statements a run takes a worker, and a slot beat, including BEGIN and COMMIT."""

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks import services, statements
from benchmarks.rows.row import Figure, Of, Plan, Row, Target
from benchmarks.rows.runs import CALLS, WITH_RESULTS
from tests.integration.service import Service
from tests.waiting import wait_until

PUBLISH = """
from jobledger.models import Run, Trigger
from jobledger.runs.publishing import publisher
runs = [Run(job="stamp", trigger=Trigger.ADMIN) for _ in range({count})]
publisher.publish(Run.objects.bulk_create(runs))
"""
CALL = """
from celery import current_app
for _ in range({count}):
    current_app.send_task("jobs.stamp")
"""
SCHEDULE = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every = IntervalSchedule.objects.create(every=1, period="seconds")
PeriodicTask.objects.create(name="alone", task="jobs.stamp", interval=every)
"""
SWITCH_OFF = """
from django_celery_beat.models import PeriodicTask
for task in PeriodicTask.objects.filter(name="alone"):
    task.enabled = False
    task.save()
"""
ENDED = re.compile(r"Run \S+ of stamp ended as succeeded")
ENDED_AT_PEER = re.compile(r"Task benchmarks\.peer\.\S+ succeeded")
WORKER, BEAT = "sql", "sql-beat"
SETTLING_SECONDS = 3


@dataclass(frozen=True, kw_only=True)
class Messages:
    """How a service gets messages, and what its worker logs when it has executed one."""

    running: Service
    send: str
    ended: re.Pattern[str]

    def statements(self, count: int) -> int:
        """Of a worker from its start until it has executed as many messages, which are waiting for it."""
        self.running.shell(self.send.format(count=count))
        ends, before = self.ends(), statements.executed(self.running)
        self.running.start_worker(WORKER)
        wait_until(lambda: self.ends() >= ends + count, what=f"{count} messages were executed")
        used = statements.executed(self.running) - before
        self.running.stop(WORKER, signal.SIGKILL)
        return used

    def ends(self) -> int:
        """How many were executed so far."""
        log = self.running.folder / f"{WORKER}.log"
        return len(self.ended.findall(log.read_text(errors="replace"))) if log.exists() else 0

    def statements_each(self, plan: Plan) -> float:
        """Without those of the worker's start: more messages are compared to fewer."""
        few, many = plan.size(20, 1), plan.size(220, 3)
        used = [self.statements(count) for count in (few, many)]
        return (used[1] - used[0]) / (many - few)


def _measure(plan: Plan, database: str) -> Iterator[Figure]:
    kinds = [services.PEER_WITH_RESULTS] if find_spec("django_celery_results") else []
    made = services.side_by_side(services.OURS, *kinds, LOG_LEVEL="INFO", WORKER_CONCURRENCY="1")
    with made as (here, *peers):
        calls = [Messages(running=each, send=CALLS, ended=ENDED_AT_PEER) for each in peers]
        of_peer = next((each.statements_each(plan) for each in calls), None)
        published, called = (
            Messages(running=here, send=send, ended=ENDED).statements_each(plan) for send in (PUBLISH, CALL)
        )
        slot = _of_slot(here, plan, published)
    for title, value, limit in (
        ("a published run, in the worker", published, 4),
        ("a lone slot, in beat", slot, 6),
        ("a `celery call`, in the worker", called, 6),
    ):
        yield Figure(
            title=f"SQL statements of {title}",
            here=value,
            peer=of_peer,
            peer_title=WITH_RESULTS if peers else "",
            target=Target(limit=limit, of=Of.VALUE),
        )


def _of_slot(running: Service, plan: Plan, of_run: float) -> float:
    """What a schedule that is due each second adds to the statements of an idle beat and worker."""
    messages = Messages(running=running, send="", ended=ENDED)
    running.start_worker(WORKER)
    running.start_beat(BEAT, "--loglevel", "DEBUG")
    services.cpu_until_logged(running, BEAT, "beat: Waking up")
    before = messages.ends()
    running.shell(SCHEDULE)
    wait_until(lambda: messages.ends() > before + 1, what="slots are executed")
    slots, busy = _meanwhile(running, plan, messages.ends)
    running.shell(SWITCH_OFF)
    time.sleep(plan.size(SETTLING_SECONDS, 1))
    _, idle = _meanwhile(running, plan, messages.ends)
    return (busy - idle) / max(slots, 1) - of_run


def _meanwhile(running: Service, plan: Plan, ends: Callable[[], int]) -> tuple[int, int]:
    """How many runs end during some time, and the statements of all processes."""
    before = ends(), statements.executed(running)
    time.sleep(plan.size(30, 1))
    return ends() - before[0], statements.executed(running) - before[1]


ROWS = (Row(name="sql", databases=("postgres",), measure=_measure),)
