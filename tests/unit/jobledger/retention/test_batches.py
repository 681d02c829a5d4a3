"""Transactions stay short: the size of a batch follows from how long batches take."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from django.db import connection
from django.db.models.signals import post_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobledger.models import DeadLetter, Run, RunAttempt, RunOutput, Status
from jobledger.retention import batches
from jobledger.retention.batches import Batches, Deletion, Weighed
from tests.unit.jobledger.retention.builders import ended, write_output


class Slow(Batches):
    """Takes so many seconds for a row, and some for a transaction; deletes nothing."""

    def __init__(self, per_row: float) -> None:
        super().__init__(Run)
        self.per_row = per_row
        self.sizes: list[int] = []
        self.took: list[float] = []

    def _delete(self, rows: Sequence[Weighed]) -> float:
        self.sizes.append(len(rows))
        self.took.append(0.002 + self.per_row * len(rows))
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

    def noted(self: Batches, rows: Sequence[Weighed]) -> float:
        sizes.append(len(rows))
        return original(self, rows)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Batches, "_delete", noted)
        deletion.discard(Run, [run.pk])
    assert sizes[0] == 3  # of 15 pages each
    assert sum(sizes) == 21
    assert not RunOutput.objects.exists()
    assert deletion.output_bytes == 1_200_000


@pytest.mark.django_db
@pytest.mark.parametrize(("chunks", "times"), [(2, 1), (3, 2), (5, 2), (6, 3)])
def test_output_is_looked_for_no_more_often_than_there_are_pages(
    monkeypatch: pytest.MonkeyPatch, chunks: int, times: int
) -> None:
    monkeypatch.setattr(batches, "PAGE", 2)
    run = ended(90)
    write_output(run, *["x"] * chunks)
    with CaptureQueriesContext(connection) as queries:
        Deletion().discard(Run, [run.pk])
    assert sum('LENGTH("jobledger_runoutput"."text")' in each["sql"] for each in queries) == times
    assert not RunOutput.objects.exists()


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


@pytest.mark.django_db
def test_a_project_hears_of_each_run_that_is_deleted_if_it_wants_to() -> None:
    runs, heard = [ended(90), ended(80)], list[tuple[UUID, dict[str, str]]]()

    def hear(instance: Run, **kwargs: object) -> None:
        heard.append((instance.pk, instance.options))

    post_delete.connect(hear, sender=Run)
    try:
        Deletion().discard(Run, [run.pk for run in runs])
    finally:
        post_delete.disconnect(hear, sender=Run)
    assert sorted(heard) == sorted((run.pk, {}) for run in runs)


@pytest.mark.django_db(transaction=True)
def test_a_row_that_appears_in_the_meantime_is_deleted_with_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = ended(90)
    monkeypatch.setattr(batches, "_referenced", lambda model, pks: set())
    RunAttempt.objects.create(run=run, attempt=1, status=Status.FAILED, finished_at=timezone.now())
    Deletion().discard(Run, [run.pk])
    assert not Run.objects.exists()
    assert not RunAttempt.objects.exists()


@pytest.mark.django_db
def test_runs_without_more_are_deleted_by_one_statement_per_transaction() -> None:
    runs = [ended(90) for _ in range(5)]
    with CaptureQueriesContext(connection) as queries:
        Deletion().discard(Run, [run.pk for run in runs])
    writes = [each["sql"] for each in queries if each["sql"].startswith(("DELETE", "UPDATE"))]
    assert len(writes) == 1
    assert not Run.objects.exists()
