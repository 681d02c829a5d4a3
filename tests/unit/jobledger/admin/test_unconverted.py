"""Times that Django does not convert are the same."""

from datetime import timedelta

import pytest
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
