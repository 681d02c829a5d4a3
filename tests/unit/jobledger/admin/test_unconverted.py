"""Times and IDs that Django does not convert are the same."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import Min
from django.utils import timezone

from jobledger.admin.unconverted import Unconverted, time_of
from jobledger.models import Run, Trigger

pytestmark = [pytest.mark.django_db, pytest.mark.every_database]


@pytest.mark.parametrize("microseconds", [0, 1, 120_000])
def test_a_time_is_the_one_that_was_stored(microseconds: int) -> None:
    stored = timezone.now().replace(microsecond=microseconds)
    Run.objects.create(job="probe", trigger=Trigger.CLI, queued_at=stored)
    assert time_of(Run.objects.values_list(Unconverted("queued_at"), flat=True)[0]) == stored
    assert time_of(Run.objects.aggregate(first=Unconverted(Min("queued_at")))["first"]) == stored


def test_a_time_that_is_missing_stays_so() -> None:
    Run.objects.create(job="probe", trigger=Trigger.CLI, queued_at=timezone.now() - timedelta(days=1))
    assert Run.objects.values_list(Unconverted("started_at"), flat=True)[0] is None


def test_an_id_is_text() -> None:
    run = Run.objects.create(job="probe", trigger=Trigger.CLI, queued_at=timezone.now())
    assert UUID(Run.objects.values_list(Unconverted("pk"), flat=True)[0]) == run.pk


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no time zones")
@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns"])
def test_a_time_is_the_same_in_any_time_zone_of_the_connection(zone: str) -> None:
    stored = timezone.now()
    Run.objects.create(job="probe", trigger=Trigger.CLI, queued_at=stored)
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL TIME ZONE '{zone}'")
    assert time_of(Run.objects.values_list(Unconverted("queued_at"), flat=True)[0]) == stored


def test_a_text_is_in_utc_unless_it_has_an_offset() -> None:
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert time_of("2026-03-02 12:00:00") == noon
    assert time_of("2026-03-02 12:00:00").tzinfo is UTC
    assert time_of("2026-03-02 13:00:00+01") == noon
