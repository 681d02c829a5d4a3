"""Many rows are written as Django would write them one by one."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import DataError, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.models import NextSlot, Run, Status, Trigger
from jobledger.schedules.many_rows import insert_new, insert_or_update

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
UPDATED = ["slot", "due_at", "handled_until", "timing", "broken"]


def run(**values: Any) -> Run:
    return Run(**{"job": "probe", "trigger": Trigger.CLI, "queued_at": NOON, **values})


def stored(*rows: Run) -> list[dict[str, Any]]:
    names = [field.attname for field in Run._meta.concrete_fields]
    found = Run.objects.in_bulk([row.pk for row in rows])
    return [{name: getattr(found[row.pk], name) for name in names} for row in rows]


def schedules(count: int) -> list[PeriodicTask]:
    hour = IntervalSchedule.objects.create(every=1, period="hours")
    made = [PeriodicTask(name=f"{n}", task="probes.probe", interval=hour) for n in range(count)]
    PeriodicTask.objects.bulk_create(made)
    return list(PeriodicTask.objects.order_by("pk"))


def test_a_row_is_stored_with_every_value_of_its_own() -> None:
    shared = {"level": 1}
    rows = [
        run(options=shared, error="a", exit_code=0, scheduled_for=NOON),
        run(options={"level": True}, error="", exit_code=None, status=Status.MISSED),
        run(options=shared, error="a", folded=1, attempt=1, progress_done=1, user_id=None),
        run(options={}, args=[1, "ü", None], start_before=NOON + timedelta(microseconds=1)),
    ]
    insert_new(rows)
    expected = [
        {field.attname: getattr(row, field.attname) for field in Run._meta.concrete_fields} for row in rows
    ]
    assert stored(*rows) == expected
    assert stored(rows[1])[0]["options"]["level"] is True


def test_it_is_what_bulk_create_stores() -> None:
    values: dict[str, Any] = {"options": {"a": ["b"]}, "scheduled_for": NOON, "error": "no", "folded": 3}
    quick, usual = run(**values), run(**values)
    insert_new([quick])
    Run.objects.bulk_create([usual])
    one, other = stored(quick, usual)
    assert {**one, "id": None} == {**other, "id": None}


def test_a_row_that_is_there_stays_and_the_others_are_inserted() -> None:
    first, second = run(error="first"), run(error="second")
    insert_new([first])
    insert_new([run(id=first.pk, error="again"), second])
    assert [row["error"] for row in stored(first, second)] == ["first", "second"]


def test_a_second_row_of_the_same_slot_is_left_out() -> None:
    (schedule,) = schedules(1)
    for _ in range(2):
        insert_new([run(id=uuid4(), schedule=schedule, scheduled_for=NOON)])
    assert Run.objects.count() == 1


def test_rows_are_inserted_or_updated_whichever_is_needed() -> None:
    known, new = schedules(2)
    NextSlot.objects.create(pk=known.pk, slot=NOON, due_at=NOON, handled_until=NOON, timing="old")
    later = NOON + timedelta(hours=1)
    rows = [
        NextSlot(pk=each.pk, slot=later, due_at=None, handled_until=NOON, timing="new")
        for each in (known, new)
    ]
    insert_or_update(rows, UPDATED)
    found = NextSlot.objects.order_by("pk").values_list("pk", "slot", "due_at", "timing", "broken")
    assert list(found) == [(each.pk, later, None, "new", "") for each in (known, new)]


def test_a_text_that_is_too_long_is_never_cut() -> None:
    # SQLite keeps it, PostgreSQL refuses it.
    with suppress(DataError), transaction.atomic():
        insert_new([run(job="j" * 201), run(job="k" * 201)])
    assert {len(job) for job in Run.objects.values_list("job", flat=True)} <= {201}


def test_nothing_is_no_statement() -> None:
    insert_new([])
    insert_or_update([], UPDATED)
