"""Databases are filled for measurements as if the service had written what is in them."""

import pytest
from django_celery_beat.models import PeriodicTask

from benchmarks.seed import population
from jobledger.models import NextSlot, SchedulePolicy
from jobledger.schedules.reconciliation import Reconciliation
from tests.unit.jobledger.schedules.builders import hourly

# The tables are changed for a moment, which SQLite allows outside a transaction only.
pytestmark = pytest.mark.django_db(transaction=True)


def reconcile() -> None:
    passes = Reconciliation()
    while not passes.step():
        pass


def slots() -> list[tuple[object, ...]]:
    """With the schedules' crontabs, but without their own numbers."""
    fields = ("schedule__crontab", "slot", "due_at", "handled_until", "timing", "target", "broken")
    return list(NextSlot.objects.order_by("pk").values_list(*fields))


@pytest.fixture
def copied() -> list[tuple[object, ...]]:
    """The slots of three schedules, of which there are two copies each."""
    for number in range(3):
        hourly(f"{number}", minute=str(number))
    reconcile()
    originals = slots()
    population.multiply(2)
    return originals


def test_copies_of_schedules_have_a_name_a_policy_and_a_next_slot_of_their_own(
    copied: list[tuple[object, ...]],
) -> None:
    assert len(set(PeriodicTask.objects.values_list("name", flat=True))) == 9
    assert SchedulePolicy.objects.count() == 9
    assert slots() == copied * 3


def test_beat_has_nothing_to_change_in_copies(copied: list[tuple[object, ...]]) -> None:
    NextSlot.objects.update(version="as copied")
    reconcile()
    assert set(NextSlot.objects.values_list("version", flat=True)) == {"as copied"}


def test_schedules_can_be_added_to_copies(copied: list[tuple[object, ...]]) -> None:
    assert hourly("another").pk > 9
