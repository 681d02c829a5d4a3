"""Transactions stay short: the size of a batch follows from how long batches take."""

from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobledger.models import DeadLetter, Run, RunOutput
from jobledger.retention import batches
from jobledger.retention.batches import Batches, Deletion, Weighed
from tests.unit.jobledger.retention.builders import ended, write_output


class Slow(Batches):
    """Takes so many seconds for a row of ordinary weight, and some for a transaction; deletes nothing."""

    def __init__(self, per_row: float, weights: dict[Any, int] | None = None) -> None:
        super().__init__(Run)
        self.per_row, self.weights = per_row, weights or {}
        self.sizes: list[int] = []
        self.took: list[float] = []

    def _delete(self, pks: Any) -> float:
        self.sizes.append(len(pks))
        self.took.append(0.002 + self.per_row * sum(self.weights.get(pk, 1) for pk in pks))
        return self.took[-1]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    paused: list[float] = []
    monkeypatch.setattr("time.sleep", paused.append)
    return paused


@pytest.mark.parametrize("per_row", [0.00001, 0.0001, 0.0007])
def test_batches_grow_until_one_takes_as_long_as_it_should(per_row: float) -> None:
    slow = Slow(per_row)
    slow.delete([Weighed(pk=number) for number in range(20_000)])
    assert sum(slow.sizes) == 20_000
    assert max(slow.took) < 0.1
    assert max(slow.sizes) == batches.MAX_WEIGHT or max(slow.took) > batches.TARGET_SECONDS * 0.9


def test_batches_shrink_as_soon_as_one_has_taken_too_long() -> None:
    slow = Slow(0.00001)
    slow.delete([Weighed(pk=number) for number in range(10_000)])
    slow.per_row = 0.001
    slow.sizes.clear()
    slow.delete([Weighed(pk=number) for number in range(2_000)])
    assert max(slow.sizes[1:]) <= 40


def test_the_last_rows_of_a_page_do_not_make_the_next_batches_small() -> None:
    slow = Slow(0.00001)
    slow.delete([Weighed(pk=number) for number in range(10_000)])
    for _ in range(5):
        slow.delete([Weighed(pk=0)])
    slow.delete([Weighed(pk=number) for number in range(900)])
    assert slow.sizes[-1] == 900


def test_a_row_that_is_too_heavy_for_a_batch_is_deleted_alone() -> None:
    slow = Slow(0.0001)
    slow.delete([Weighed(pk=0), Weighed(pk=1, weight=5000), Weighed(pk=2)])
    assert slow.sizes == [1, 1, 1]


def test_after_each_batch_others_have_as_much_time(pauses: list[float]) -> None:
    slow = Slow(0.0005)
    slow.delete([Weighed(pk=number) for number in range(500)])
    assert pauses == slow.took


@pytest.mark.django_db
def test_the_output_of_a_run_is_deleted_in_batches_of_its_own() -> None:
    run = ended(90)
    write_output(run, *["x" * 60_000] * 20)
    deletion = Deletion()
    sizes: list[int] = []
    original = Batches._delete

    def noted(self: Batches, pks: Any) -> float:
        sizes.append(len(pks))
        return original(self, pks)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Batches, "_delete", noted)
        deletion.discard(Run, [run.pk])
    assert sizes[0] == 3  # of 15 pages each
    assert sum(sizes) == 21
    assert not RunOutput.objects.exists()
    assert deletion.output_bytes == 1_200_000


@pytest.mark.django_db(transaction=True)
def test_each_batch_is_a_transaction_of_its_own() -> None:
    for _ in range(3):
        DeadLetter.objects.create(received_at=timezone.now(), reason="x", size=1)
    pks = list(DeadLetter.objects.values_list("pk", flat=True))
    states: list[tuple[bool, int]] = []

    def look(seconds: float) -> None:
        states.append((connection.in_atomic_block, DeadLetter.objects.count()))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batches, "FIRST_WEIGHT", 1)
        patched.setattr("time.sleep", look)
        Deletion().discard(DeadLetter, pks)
    assert states[0] == (False, 2)
    assert states[-1] == (False, 0)
