"""A database that django-celery-beat's own scheduler has used is adopted, and given back to it.

Every schedule is due, or overdue, exactly as often as its name says; both schedulers and the worker are real
processes. The counts are those of the lines that the job wrote.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.database import rows, time_of, uuid_of
from tests.integration.schedules.beats import newer_slot
from tests.integration.service import STOCK_SCHEDULER, Service
from tests.integration.slots import traces_of
from tests.waiting import wait_until

pytestmark = pytest.mark.takes_long

# As the stock scheduler leaves its rows: no signal is sent, and the service's tables stay empty.
LIVE = """
from datetime import timedelta
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

now = timezone.now()
minute = now.minute - 2
recent = CrontabSchedule.objects.create(minute=str(minute % 60), timezone="UTC")
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
past = ClockedSchedule.objects.create(clocked_time=now - timedelta(minutes=2))
# Either day would be enough for cron, every minute of today; Celery requires both.
other = (now + timedelta(days=3)).day
both = CrontabSchedule.objects.create(
    day_of_month=str(other), day_of_week=str(now.isoweekday() % 7), timezone="UTC"
)
ran, long_ago = now - timedelta(minutes=1), now - timedelta(minutes=30)
rows = {
    "steady": {"interval": second, "last_run_at": ran},
    "never: has run": {"crontab": recent, "last_run_at": ran},
    "never: both days": {"crontab": both, "last_run_at": ran},
    "never: ran once": {"crontab": recent, "one_off": True, "total_run_count": 1, "last_run_at": ran},
    "never: clocked and ran": {"clocked": past, "one_off": True, "total_run_count": 1, "last_run_at": ran},
    "once: overdue": {"crontab": recent, "last_run_at": long_ago},
    "once: overdue when adopted": {"crontab": recent, "last_run_at": ran},
    "once: overdue when given back": {"crontab": recent, "last_run_at": ran},
}
PeriodicTask.objects.bulk_create(
    PeriodicTask(name=name, task="probes.trace", **values) for name, values in rows.items()
)
"""
OVERDUE = "UPDATE django_celery_beat_periodictask SET last_run_at = ? WHERE name = ?"
# As if the slot had become due since beat was stopped.
UNRECORDED = """
UPDATE jobledger_nextslot SET slot = ?, due_at = ?, handled_until = ? WHERE schedule_id =
(SELECT id FROM django_celery_beat_periodictask WHERE name = ?)
"""
NEXT_SLOT = """
SELECT slot FROM jobledger_nextslot WHERE schedule_id =
(SELECT id FROM django_celery_beat_periodictask WHERE name = ?)
"""
RUNS = "SELECT schedule_name, id, scheduled_for FROM jobledger_run WHERE status = 'succeeded'"


@pytest.fixture
def live(running: Service) -> Iterator[Service]:
    """A service whose database has only been used by the stock scheduler."""
    running.shell(LIVE)
    yield running
    rows(running, "DELETE FROM jobledger_nextslot")
    rows(running, "DELETE FROM jobledger_schedulepolicy")


def jobledger(running: Service, *line: str) -> str:
    """What the subcommand prints on stdout and stderr."""
    return running.shell(
        "import sys; from django.core.management import call_command; "
        f"call_command('jobledger', *{line!r}, stdout=sys.stdout, stderr=sys.stdout)"
    )


def executed(running: Service) -> Counter[str]:
    """How often each schedule of this test was executed; others may have used the service before."""
    traces = traces_of(running)
    counts: Counter[str] = Counter()
    for name, pk, _ in rows(running, RUNS):
        if name == "steady" or name.startswith("once: overdue"):
            counts[name] += traces[uuid_of(pk)]
    return counts


def run_until(running: Service, beat: str, name: str, *flags: str) -> None:
    """Run a beat until this schedule has been executed, and ``steady`` since."""
    before = executed(running)
    running.start_beat(beat, *flags)
    wait_until(lambda: executed(running)[name] > before[name], what=f"{name} is executed")
    steady = executed(running)["steady"]
    wait_until(lambda: executed(running)["steady"] > steady, what="steady goes on")
    running.stop(beat)


def test_a_live_database_is_adopted_used_and_given_back_and_nothing_runs_twice(live: Service) -> None:
    run_until(live, "beat-stock", "once: overdue", *STOCK_SCHEDULER)

    rows(live, OVERDUE, datetime.now(UTC) - timedelta(minutes=20), "once: overdue when adopted")
    assert "Adopted" in jobledger(live, "adopt")
    assert "Nothing was stored" in jobledger(live, "adopt")
    run_until(live, "beat", "once: overdue when adopted")

    hour = timedelta(hours=1)
    # Not computed from the clock, which has moved on since the crontab was created.
    ((next_slot,),) = rows(live, NEXT_SLOT, "once: overdue when given back")
    slot = time_of(next_slot) - hour
    rows(live, UNRECORDED, slot, slot, slot - hour, "once: overdue when given back")
    assert "Stored where to continue" in jobledger(live, "give_back")
    run_until(live, "beat-again", "once: overdue when given back", *STOCK_SCHEDULER)

    counts = executed(live)
    steady = counts.pop("steady")
    assert counts == {
        "once: overdue": 1,
        "once: overdue when adopted": 1,
        "once: overdue when given back": 1,
    }
    slots = [time_of(at) for name, _, at in rows(live, RUNS) if name == "steady" and at]
    assert len(slots) == len(set(slots)) < steady
    assert newer_slot(live, "steady", slot)
