"""Whoever locks several rows does so in the same order as all others: nobody waits for each other."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.models import F, Model, QuerySet
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules import changes
from jobledger.admin.schedules.deletion import delete_schedules
from jobledger.alerts import recording, subscriptions
from jobledger.alerts.rules import SUBSCRIBER_KEY
from jobledger.models import (
    AlertState,
    Calendar,
    NextSlot,
    Pause,
    Predecessor,
    Run,
    SchedulePolicy,
    Status,
    Subscription,
    Trigger,
)
from jobledger.schedules import calendars, locking, pausing, reconciliation
from jobledger.schedules.chains import links, starting
from jobledger.schedules.due import ledger
from tests.unit.jobledger.alerts.builders import destination
from tests.unit.jobledger.schedules.builders import hourly, limited_by
from tests.unit.jobledger.schedules.chains.builders import ended, follower
from tests.unit.side_by_side import side_by_side
from tests.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
Call = Callable[[], object]


@pytest.fixture(autouse=True)
def _locks_rows() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows")


@pytest.fixture
def schedules() -> list[PeriodicTask]:
    """Two, which are paused, and of which a slot has passed."""
    now = timezone.now()
    made = [limited_by(hourly(f"number {each}", handled_until=now - HOUR), "sun") for each in range(2)]
    Pause.objects.bulk_create(Pause(schedule=each, since=now - HOUR) for each in made)
    return made


@contextmanager
def waiting(call: Call, *, for_rows: QuerySet[Any]) -> Iterator[None]:
    """In the block, another process does this, and waits for these rows, which this one has locked."""
    errors: list[Exception] = []
    thread = threading.Thread(target=_call, args=[call, errors], daemon=True)
    with transaction.atomic():
        assert list(for_rows.select_for_update(no_key=True))
        thread.start()
        wait_until(_is_waited_for, what="somebody waits for this process")
        yield
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert not errors, errors


def _call(call: Call, errors: list[Exception]) -> None:
    try:
        # An index may happen to have the right order. PostgreSQL decides whether to use one.
        with connection.cursor() as cursor:
            for scan in ("indexscan", "indexonlyscan", "bitmapscan"):
                cursor.execute(f"SET enable_{scan} = off")
        call()
    except Exception as error:  # noqa: BLE001 - shown in the test's own thread
        errors.append(error)
    finally:
        connections.close_all()


def _is_waited_for() -> bool:
    with connection.cursor() as cursor:
        # Otherwise, each look in a transaction would see the same.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def assert_in_order(call: Call, rows: QuerySet[Any], key: str = "pk") -> None:
    """The call locks the rows in the order of this key, and not in that in which they are stored."""
    first, *_, last = rows.order_by(key).values_list("pk", flat=True)
    _store_last(rows.model, first)
    with waiting(call, for_rows=rows.filter(pk=first)):
        assert list(rows.filter(pk=last).select_for_update(nowait=True))


def _store_last(model: type[Model], pk: object) -> None:
    name = next(field.name for field in model._meta.concrete_fields if not field.primary_key)
    model._default_manager.filter(pk=pk).update(**{name: F(name)})


def runs_of(schedules: list[PeriodicTask]) -> list[Run]:
    return [Run(job="probe", schedule=each, status=Status.QUEUED) for each in schedules]


def test_schedules_are_synced_in_order(schedules: list[PeriodicTask]) -> None:
    ids = [each.pk for each in reversed(schedules)]
    assert_in_order(lambda: ledger.sync(ids, timezone.now()), NextSlot.objects.all())


def test_those_that_a_pause_holds_are_planned_again_in_order(schedules: list[PeriodicTask]) -> None:
    recheck = lambda: reconciliation.recheck_held(None, timezone.now())  # noqa: E731
    assert_in_order(recheck, NextSlot.objects.all())


def test_pauses_are_ended_in_order(schedules: list[PeriodicTask]) -> None:
    ids = [each.pk for each in schedules]
    assert_in_order(lambda: pausing.resume_all(ids, now=timezone.now()), Pause.objects.all())


def test_runs_are_counted_in_the_order_of_their_schedules(schedules: list[PeriodicTask]) -> None:
    runs = runs_of(schedules)
    assert_in_order(lambda: ledger.update_run_counts(runs, timezone.now()), PeriodicTask.objects.all())


def test_schedules_are_disabled_in_order(schedules: list[PeriodicTask], admin_user: User) -> None:
    every = PeriodicTask.objects.all()
    assert_in_order(lambda: changes.set_enabled(admin_user, every, enabled=False), every)


def test_so_are_the_copies_of_calendars_renewed(schedules: list[PeriodicTask]) -> None:
    Calendar.objects.update(entries="sat")
    policies = SchedulePolicy.objects.all()
    assert_in_order(lambda: calendars.refresh(policies), policies)


def test_so_are_streaks_forgotten_of_rules_that_do_not_apply() -> None:
    AlertState.objects.bulk_create(AlertState(job="probe", rule=each) for each in ("98", "99"))
    run = Run.objects.create(job="probe", trigger=Trigger.CELERY, status=Status.SUCCEEDED)
    end = lambda: recording.run_ended(run, Status.SUCCEEDED, timezone.now())  # noqa: E731
    assert_in_order(end, AlertState.objects.all(), "rule")


def test_so_are_those_of_a_user_who_unsubscribes() -> None:
    to = destination()
    mine = Subscription.objects.create(destination=to, job="probe")
    states = [AlertState(job="probe", schedule_key=key, rule=f"{SUBSCRIBER_KEY}{to.pk}") for key in (1, 2)]
    AlertState.objects.bulk_create(states)
    assert_in_order(lambda: subscriptions.unsubscribe([mine]), AlertState.objects.all(), "schedule_key")


def test_a_deletion_lets_an_edit_go_first_before_it_locks_what_that_needs(
    schedules: list[PeriodicTask], admin_user: User
) -> None:
    first = PeriodicTask.objects.filter(pk=schedules[0].pk)
    with waiting(lambda: delete_schedules(admin_user, schedules), for_rows=first):
        for model in (SchedulePolicy, NextSlot):
            assert list(model._default_manager.select_for_update(nowait=True))
    assert not PeriodicTask.objects.exists()


def test_so_it_does_for_a_run_that_ends_and_may_pause_the_schedule(
    schedules: list[PeriodicTask], admin_user: User
) -> None:
    run = Run.objects.create(
        job="probe", trigger=Trigger.SCHEDULE, schedule=schedules[0], status=Status.RUNNING
    )
    delete = lambda: delete_schedules(admin_user, schedules)  # noqa: E731
    with waiting(delete, for_rows=Run.objects.filter(pk=run.pk)):
        assert list(SchedulePolicy.objects.select_for_update(nowait=True))
    run.refresh_from_db()
    assert (run.schedule_id, run.status) == (None, "running")


def test_a_run_that_waits_is_detached_after_the_one_that_it_waits_for(schedules: list[PeriodicTask]) -> None:
    """As one is made to wait: while the other one is locked."""
    of = {"job": "probe", "trigger": Trigger.SCHEDULE, "schedule": schedules[0]}
    waits = Run.objects.create(**of, status=Status.QUEUED)
    holder = Run.objects.create(**of, status=Status.RUNNING)
    detach = transaction.atomic(lambda: locking.detach_runs([schedules[0].pk]))
    with waiting(detach, for_rows=Run.objects.filter(pk=holder.pk)):
        assert list(Run.objects.filter(pk=waits.pk).select_for_update(nowait=True))


def test_beat_leaves_a_follower_alone_while_an_edit_changes_what_it_starts_after(tmp_path: Path) -> None:
    now = timezone.now()
    first = hourly("first", handled_until=now)
    then = follower("first", since=now - HOUR)
    ended(first, now - MINUTE)
    NextSlot.objects.filter(schedule=first).update(slot=now + HOUR)
    NextSlot.objects.filter(schedule=then).update(look_at=now)
    recorded: list[Run] = []

    def look() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        recorded.extend(starting.advance(now))

    with side_by_side(tmp_path) as beat, transaction.atomic():
        links.assign(then.pk, [], now)
        beat.call([look])
        # As the edit does next.
        ledger.sync([then.pk], now)
        transaction.set_rollback(True)
    assert recorded == []
    assert Predecessor.objects.exists()
    NextSlot.objects.filter(schedule=then).update(look_at=now)
    assert [run.status for run in starting.advance(now)] == ["queued"]
