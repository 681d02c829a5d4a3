"""Every run that has ended is counted exactly once, whenever it ends, and whatever becomes of it."""

import math
import random
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobledger.management.commands import prune_runs
from jobledger.metrics import names, totals
from jobledger.metrics.totals import Key, NotCountedError
from jobledger.models import CountedUntil, Run, RunTotal, Status, Trigger, UncountedRun
from jobledger.runs import dispatch
from tests.unit.builders import NOON, override
from tests.unit.jobledger.metrics.builders import MINUTE, SECOND, ended, live
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db

DAY = 24 * 60
"""In minutes."""
PROBE = Key("probe", "schedule", "succeeded")


def read(minutes: float = 0) -> totals.Totals:
    return totals.read(NOON + minutes * MINUTE, within_seconds=60)


def counts(minutes: float = 0) -> dict[str, int]:
    """The number of runs by status."""
    found: dict[str, int] = {}
    for key, total in read(minutes).items():
        found[key.status] = found.get(key.status, 0) + total.count
    return found


def test_runs_are_counted_by_job_trigger_and_status() -> None:
    ended()
    ended()
    ended(1)
    ended(job="other", trigger=Trigger.CLI, status=Status.FAILED)
    ended(status=Status.SKIPPED, started_at=None, finished_at=None)
    assert {key: total.count for key, total in read().items()} == {
        PROBE: 3,
        Key("other", "cli", "failed"): 1,
        Key("probe", "schedule", "skipped"): 1,
    }


def test_a_run_whose_end_is_awaited_is_counted_when_it_is_known() -> None:
    run = live(status=Status.SENT, look_at=NOON)
    late = live(0, status=Status.SENT, look_at=NOON)
    assert counts() == {}
    Run.objects.filter(pk=run.pk).update(status=Status.FAILED, look_at=None)
    Run.objects.filter(pk=late.pk).update(look_at=None)
    assert counts() == {"failed": 1, "sent": 1}
    assert counts(10) == {"failed": 1, "sent": 1}


def test_names_that_are_not_in_the_code_have_a_limit_beyond_which_they_are_counted_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "MAX_OTHERS", 2)
    for number in range(4):
        ended(10 - number, job=f"line {number}")
    ended(1, job="line 4")
    ended(1, job="probe")
    for minutes in (0, 0, 10):
        found = {key.job: total.count for key, total in read(minutes).items()}
        assert found == {"line 0": 1, "line 1": 1, "(others)": 3, "probe": 1}
    assert set(RunTotal.objects.values_list("job", flat=True)) == set(found)


def test_asking_again_counts_nothing_twice() -> None:
    ended(10)
    ended(1)
    assert [counts(minutes) for minutes in (0, 0, 1, 5, 5)] == [{"succeeded": 2}] * 5


def test_a_run_that_ends_later_is_counted_then() -> None:
    run = live(60)
    assert counts() == {}
    assert UncountedRun.objects.get().run_id == run.pk
    assert counts(5) == {}
    Run.objects.filter(pk=run.pk).update(status=Status.FAILED, finished_at=NOON + 6 * MINUTE)
    assert [counts(6), counts(7)] == [{"failed": 1}] * 2
    assert not UncountedRun.objects.exists()


def test_a_run_that_was_deleted_before_it_ended_is_forgotten() -> None:
    live(60)
    counts()
    Run.objects.all().delete()
    assert counts(1) == {}
    assert not UncountedRun.objects.exists()


def test_runs_queued_at_the_same_time_are_each_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "PAGE", 3)
    for _ in range(10):
        ended(30)
    assert [counts(), counts()] == [{"succeeded": 10}] * 2


def test_counters_do_not_decrease_when_runs_are_pruned(settings: Any) -> None:
    override(settings, KEEP_DAYS=30, KEEP_RUNS=1)
    for age in (40, 35, 34, 20):
        ended(age * DAY, now=timezone.now())
    before = totals.read(timezone.now(), within_seconds=60)[PROBE]
    prune_runs.Command().handle(dry_run=False, max_minutes=1, verbosity=0)
    assert Run.objects.count() == 1
    after = totals.read(timezone.now(), within_seconds=60)[PROBE]
    assert (after.count, after.duration.sum) == (before.count, before.duration.sum) == (4, 20)


def test_runs_that_nobody_has_counted_are_counted_before_they_are_pruned(settings: Any) -> None:
    override(settings, KEEP_DAYS=30, KEEP_RUNS=1)
    for age in (40, 35, 34):
        ended(age * DAY, now=timezone.now())
    prune_runs.Command().handle(dry_run=False, max_minutes=1, verbosity=0)
    assert Run.objects.count() == 1
    assert totals.read(timezone.now(), within_seconds=60)[PROBE].count == 3


def test_counting_what_would_be_pruned_counts_no_runs() -> None:
    ended(40 * DAY, now=timezone.now())
    prune_runs.Command().handle(dry_run=True, max_minutes=1, verbosity=0)
    assert not RunTotal.objects.exists()


def test_the_latest_runs_are_counted_but_not_stored_since_others_may_be_inserted_before_them() -> None:
    ended(1)
    assert counts() == {"succeeded": 1}
    assert not RunTotal.objects.exists()
    ended(1.5)
    assert counts() == {"succeeded": 2}
    assert counts(10) == {"succeeded": 2}
    assert RunTotal.objects.get().count == 2


def test_a_line_of_a_crontab_that_is_recorded_much_later_is_counted() -> None:
    ended(60)
    assert counts() == {"succeeded": 1}
    now = timezone.now()
    totals.read(now, within_seconds=60)
    request = dispatch.RunRequest(job="probe", options={}, trigger=Trigger.CRON)
    started_at = now - timedelta(hours=3)
    run = dispatch.begin_line(uuid.uuid4(), request, worker="here", started_at=started_at)
    Run.objects.filter(pk=run.pk).update(status=Status.SUCCEEDED, finished_at=now)
    assert totals.read(now, within_seconds=60)[Key("probe", "cron", "succeeded")].count == 1


@pytest.mark.parametrize("minutes_ago", [30, 1], ids=["counted before", "not counted before"])
@pytest.mark.parametrize("status", [Status.RUNNING, Status.SUCCEEDED])
def test_a_run_whose_start_is_corrected_is_counted_once(minutes_ago: int, status: Status) -> None:
    now, line_id = timezone.now(), uuid.uuid4()
    ended(20, now=now, job="other")
    ended(minutes_ago, now=now, pk=line_id, trigger=Trigger.CRON, status=status)
    totals.read(now, within_seconds=60)
    request = dispatch.RunRequest(job="probe", options={}, trigger=Trigger.CRON)
    dispatch.begin_line(line_id, request, worker="here", started_at=now - timedelta(hours=3))
    Run.objects.filter(pk=line_id).update(status=Status.SUCCEEDED, finished_at=now)
    for minutes in (0, 5, 10):
        found = totals.read(now + minutes * MINUTE, within_seconds=60)
        assert found[Key("probe", "cron", "succeeded")].count == 1


LOWER, HIGHER = uuid.UUID(int=1), uuid.UUID(int=2**128 - 1)


@pytest.mark.parametrize("line_id", [LOWER, HIGHER])
@pytest.mark.parametrize("was_begun", [True, False])
def test_a_line_that_began_when_the_last_counted_run_was_queued_is_counted_once(
    line_id: uuid.UUID, was_begun: bool
) -> None:
    now = timezone.now()
    last = ended(20, now=now, job="other")
    if was_begun:
        ended(10, now=now, pk=line_id, trigger=Trigger.CRON, status=Status.RUNNING)
    totals.read(now - 10 * MINUTE, within_seconds=60)
    request = dispatch.RunRequest(job="probe", options={}, trigger=Trigger.CRON)
    dispatch.begin_line(line_id, request, worker="here", started_at=last.queued_at)
    assert counted_later(line_id, now) == [1, 1]


def test_a_line_that_was_queued_with_the_last_counted_run_is_counted_once_if_it_began_earlier() -> None:
    now = timezone.now()
    last = ended(20, now=now, job="other")
    totals.read(now, within_seconds=60)
    request = dispatch.RunRequest(job="probe", options={}, trigger=Trigger.CRON)
    began = ended(20, now=now, pk=HIGHER, trigger=Trigger.CRON, status=Status.RUNNING)
    assert began.queued_at == last.queued_at
    dispatch.begin_line(HIGHER, request, worker="here", started_at=now - 30 * MINUTE)
    assert counted_later(HIGHER, now) == [1, 1]


def test_a_line_that_seems_to_have_begun_after_its_job_is_counted_once() -> None:
    now = timezone.now()
    ended(20, now=now, job="other")
    ended(15, now=now, pk=HIGHER, trigger=Trigger.CRON, status=Status.RUNNING)
    totals.read(now - 12 * MINUTE, within_seconds=60)
    request = dispatch.RunRequest(job="probe", options={}, trigger=Trigger.CRON)
    dispatch.begin_line(HIGHER, request, worker="here", started_at=now - 5 * MINUTE)
    assert counted_later(HIGHER, now) == [1, 1]


def counted_later(line_id: uuid.UUID, now: datetime) -> list[int]:
    """How many lines are counted, at once and later, when this one has succeeded."""
    Run.objects.filter(pk=line_id).update(status=Status.SUCCEEDED, finished_at=now)
    key = Key("probe", "cron", "succeeded")
    return [totals.read(now + late, within_seconds=60)[key].count for late in (0 * MINUTE, 10 * MINUTE)]


def test_if_there_is_too_much_to_count_at_once_the_next_call_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(totals, "PAGE", 2)
    for minutes in range(10, 15):
        ended(minutes)
    with pytest.raises(NotCountedError, match="Runs are counted up to 2026-03-01 11:47 UTC"):
        totals.read(NOON, within_seconds=0)
    with pytest.raises(NotCountedError):
        totals.read(NOON, within_seconds=0)
    assert totals.read(NOON, within_seconds=0)[PROBE].count == 5


def test_so_it_does_if_too_many_runs_end_at_once_that_were_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "PAGE", 2)
    for minutes in range(10, 15):
        live(minutes)
    assert read() == {}
    Run.objects.update(status=Status.CANCELLED, finished_at=NOON)
    for left in (3, 1):
        with pytest.raises(NotCountedError):
            totals.read(NOON, within_seconds=0)
        assert UncountedRun.objects.count() == left
    for _ in range(2):
        (total,) = totals.read(NOON, within_seconds=0).values()
        assert total.count == 5


def test_however_many_end_at_once_those_put_aside_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "PAGE", 2)
    for minutes in range(10, 20):
        live(minutes)
    read()
    Run.objects.update(status=Status.CANCELLED, finished_at=NOON)
    with CaptureQueriesContext(connection) as queries:
        assert counts() == {"cancelled": 10}
    reads = [each["sql"] for each in queries if " EXCEPT " in each["sql"]]
    assert len([sql for sql in reads if UncountedRun._meta.db_table in sql]) == 1


def test_of_those_put_aside_only_what_has_ended_is_read(django_assert_num_queries: Any) -> None:
    """With a long queue, those that have not are many."""
    for minutes in range(10, 15):
        live(minutes)
    read()
    run = Run.objects.newest_first()[0]
    Run.objects.filter(pk=run.pk).update(status=Status.CANCELLED, finished_at=NOON)
    with django_assert_num_queries(2) as queries:
        assert totals._ended_aside() == [run.pk]
    first, second = (each["sql"] for each in queries)
    assert first.endswith(" LIMIT 1")
    assert " EXCEPT " in second


@pytest.mark.django_db(transaction=True)
def test_those_that_another_web_server_has_counted_meanwhile_are_not_counted_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(totals, "PAGE", 2)
    for minutes in range(10, 15):
        live(minutes)
    read()
    Run.objects.update(status=Status.CANCELLED, finished_at=NOON)
    found = totals._EndedAside()
    with transaction.atomic():
        first = list(found.take())
    UncountedRun.objects.filter(run_id__in=[found._left[0]]).delete()  # type: ignore[index]
    with transaction.atomic():
        second = list(found.take())
    assert (len(first), len(second)) == (2, 1)


def test_durations_and_delays_are_those_of_runs_that_were_executed() -> None:
    ended(took=4, delay=2)
    ended(1, took=400, scheduled_for=NOON - 3 * MINUTE)
    ended(status=Status.MISSED, started_at=None, finished_at=None)
    found = read()
    assert found[PROBE].duration.sum == 404
    assert found[PROBE].start_delay.sum == 2 + 120
    assert found[Key("probe", "schedule", "missed")].duration.buckets[-1] == (math.inf, 0)


def test_a_run_that_a_user_starts_for_an_earlier_slot_is_late_from_when_it_was_queued() -> None:
    ended(delay=3, trigger=Trigger.ADMIN, scheduled_for=NOON - timedelta(days=30))
    (total,) = read().values()
    assert total.start_delay.sum == 3


def test_a_run_that_a_calendar_has_moved_is_late_from_when_it_was_moved_to() -> None:
    ended(delay=3, scheduled_for=NOON - timedelta(days=3), moved_to=NOON - timedelta(minutes=10))
    (total,) = read().values()
    assert total.start_delay.sum == 3


@pytest.mark.parametrize("trigger", ["admin", "api", "celery", "chain", "task"])
def test_a_run_that_a_worker_starts_is_late_from_when_it_was_queued_or_may_start(trigger: str) -> None:
    ended(delay=3, trigger=trigger)
    ended(delay=65, trigger=trigger, start_after=NOON - timedelta(minutes=9))
    (total,) = read().values()
    assert total.start_delay.sum == 3 + 5


@pytest.mark.parametrize(
    "values", [*({"trigger": trigger} for trigger in ("cli", "job", "cron", "backfill")), {"attempt": 2}]
)
def test_a_run_that_no_worker_starts_or_that_is_tried_again_has_no_delay(values: dict[str, Any]) -> None:
    ended(delay=3, **values)
    (total,) = read().values()
    assert (total.start_delay.sum, total.duration.sum) == (0, 5)


def test_the_last_end_is_remembered_also_when_the_run_is_gone() -> None:
    ended(60)
    ended(30)
    read()
    Run.objects.all().delete()
    assert read()[PROBE].last_ended_at == NOON - 30 * MINUTE + 5 * SECOND


def test_the_number_of_queries_does_not_depend_on_the_number_of_runs() -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            read()
        return len(captured)

    ended()
    live()
    read()
    ended(1)
    few = queries()
    for number in range(30):
        ended(1 + number / 100)
        live(20 + number)
    read()
    assert queries() == few <= 15


def test_in_any_order_of_events_the_counters_are_exact_and_never_decrease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(totals, "PAGE", 4)
    rng, alive, finished, last = random.Random(18), list[uuid.UUID](), 0, 0
    for step in range(60):
        now = NOON + step * MINUTE / 2
        for _ in range(rng.randrange(4)):
            alive.append(live(0, now=now - rng.random() * 90 * SECOND).pk)
        for pk in rng.sample(alive, min(len(alive), rng.randrange(4))):
            alive.remove(pk)
            Run.objects.filter(pk=pk).update(status=Status.SUCCEEDED, finished_at=now)
            finished += 1
        if rng.random() < 0.6:
            found = totals.read(now, within_seconds=60)
            count = sum(total.count for total in found.values())
            assert last <= count == finished
            last = count
    assert CountedUntil.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_any_number_of_web_servers_may_count_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totals, "PAGE", 3)
    for number in range(20):
        ended(10 + number / 10)
    found: list[int] = []
    with side_by_side(tmp_path) as threads:
        for _ in range(3):
            threads.call([lambda: found.append(read()[PROBE].count)] * 4)
        assert found == [20] * 12
        assert RunTotal.objects.get().count == 20


@pytest.mark.django_db(transaction=True)
def test_a_web_server_that_hangs_while_it_counts_holds_up_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one limit for all statements")
    monkeypatch.setattr(totals, "LOCK_TIMEOUT_SECONDS", 0.1)
    ended()
    with side_by_side(tmp_path) as threads:
        with transaction.atomic():
            totals._locked(NOON)
            with pytest.raises(OperationalError, match="lock timeout"):
                threads.call([read])
        assert read()[PROBE].count == 1
