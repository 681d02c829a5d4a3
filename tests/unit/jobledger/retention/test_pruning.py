"""What belongs together goes together, what others need stays, and nothing that is gone comes back."""

import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from jobledger.jobs.declaration import Misfire
from jobledger.models import (
    Alert,
    NextSlot,
    Ping,
    PingEvent,
    Reason,
    Run,
    RunAttempt,
    RunOutput,
    SchedulePolicy,
    Status,
    Why,
)
from jobledger.retention import batches, pruning
from jobledger.retention.batches import Deletion
from jobledger.retention.pruning import Pruning
from jobledger.runs.lease.interrupts import JobCancelled
from jobledger.schedules.due import ledger
from tests.unit.builders import override
from tests.unit.jobledger.retention.builders import (
    ended,
    is_there,
    prune,
    schedule,
    would_prune,
    write_output,
)

pytestmark = pytest.mark.django_db


def test_everything_that_belongs_to_a_run_is_deleted_with_it() -> None:
    old, _ = ended(90, schedule=schedule()), ended(1)
    ended(1, schedule=old.schedule)
    write_output(old, "a", "b")
    RunAttempt.objects.create(run=old, attempt=1, status=Status.FAILED, finished_at=timezone.now())
    Ping.objects.create(run=old, schedule=old.schedule, event=PingEvent.START)
    alert = Alert.objects.create(kind="failed", job="probe", run=old, rule_name="all")
    assert prune() == {"runs of probe": 1}
    assert not RunOutput.objects.exists()
    assert not RunAttempt.objects.exists()
    assert not Ping.objects.exists()
    alert.refresh_from_db()
    assert alert.run_id is None


def test_a_dry_run_deletes_nothing_and_counts_the_same() -> None:
    for days in (90, 80, 1):
        write_output(ended(days), "a")
    expected = would_prune()
    assert Run.objects.count() == RunOutput.objects.count() == 3
    assert prune() == expected == {"runs of probe": 2}


def test_a_composite_run_goes_with_all_its_descendants() -> None:
    root = ended(90, job="nightly")
    child = ended(90, parent=root)
    grandchild = ended(90, job="other", parent=child)
    for job in ("nightly", "probe", "other"):
        ended(1, job=job)
    counted = {
        "runs of nightly": 1,
        "runs of probe called by nightly": 1,
        "runs of other called by nightly": 1,
    }
    assert would_prune() == prune() == counted
    assert not any(map(is_there, (root, child, grandchild)))


def test_large_families_are_deleted_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite takes a limited number of values in a query, and the memory that is needed stays the same."""
    for module in (pruning, batches):
        monkeypatch.setattr(module, "PAGE", 4)
    monkeypatch.setattr(pruning, "FAMILIES", 2)
    for _ in range(5):
        root = ended(90, job="nightly")
        for _ in range(3):
            ended(90, parent=ended(90, parent=root))
    for job in ("nightly", "probe"):
        ended(1, job=job)
    with CaptureQueriesContext(connection) as queries:
        counts = prune()
    assert counts == {"runs of nightly": 5, "runs of probe called by nightly": 30}
    lengths = [
        len(found.split(",")) for each in queries for found in re.findall(r"IN \(([^()]*)\)", each["sql"])
    ]
    assert max(lengths) == 4
    assert Run.objects.count() == 2


def test_children_stay_as_long_as_their_parent() -> None:
    root = ended(90, job="nightly")
    child = ended(90, parent=root)
    ended(1)
    assert prune() == {}
    assert is_there(child)


def test_a_parent_stays_as_long_as_any_of_its_descendants() -> None:
    root, other = ended(90, job="nightly"), ended(89, job="nightly")
    child = ended(90, parent=root)
    needed = ended(90, job="rare", parent=child)
    ended(1, job="nightly")
    ended(1)
    assert prune() == {"runs of nightly": 1}
    assert [is_there(run) for run in (root, child, needed, other)] == [True, True, True, False]


@pytest.mark.parametrize("on_delete", [models.PROTECT, models.RESTRICT, models.DO_NOTHING])
def test_a_run_that_a_row_of_the_project_refers_to_is_kept(
    monkeypatch: pytest.MonkeyPatch, on_delete: object
) -> None:
    # A table that refers to runs, as one of the project's might.
    (relation,) = [each for each in Run._meta.related_objects if each.related_model is RunAttempt]
    monkeypatch.setattr(relation, "on_delete", on_delete)
    held = ended(90)
    RunAttempt.objects.create(run=held, attempt=1, status=Status.FAILED, finished_at=timezone.now())
    ended(80)
    ended(1)
    assert prune() == {"runs of probe": 1}
    assert is_there(held)


def test_a_slot_whose_run_was_deleted_is_not_run_again() -> None:
    now, made = timezone.now(), schedule()
    long_ago = now - timedelta(days=60)
    SchedulePolicy.objects.filter(pk=made.pk).update(misfire=Misfire.ALL)
    NextSlot.objects.filter(pk=made.pk).update(handled_until=long_ago, slot=long_ago, due_at=long_ago)
    recorded = ledger.record_due(now - timedelta(days=50))
    assert recorded.queued
    Run.objects.update(status=Status.SUCCEEDED, finished_at=now - timedelta(days=50))
    ended(1, schedule=made)
    assert prune() == {"runs of probe": Run.objects.count() and len(recorded.queued)}
    ledger.record_due(now)
    made.save()
    ledger.sync([made.pk], now)
    again = Run.objects.filter(schedule=made, scheduled_for__lte=now - timedelta(days=50))
    assert not again.exists()


def test_many_runs_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobledger.retention.batches.PAGE", 3)
    time = timezone.now() - timedelta(days=90)
    kept = ended(90, status=Status.FAILED)
    for number in range(10):
        # Some at the same time: a page may end between them.
        ended(0, queued_at=time + timedelta(seconds=number // 4), finished_at=time)
    ended(1)
    assert prune() == {"runs of probe": 10}
    assert is_there(kept)


def test_it_stops_when_its_time_is_over() -> None:
    ended(90)
    ended(1)
    hasty = Pruning(Deletion(), timezone.now(), seconds=0)
    assert list(hasty.runs()) == []
    assert not hasty.is_complete
    assert Run.objects.count() == 2


def test_after_an_interruption_it_continues_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FIRST_WEIGHT", 2)
    for days in (90, 80, 70, 60, 1):
        ended(days)
    with monkeypatch.context() as patched:
        patched.setattr("time.sleep", interrupt)
        with pytest.raises(JobCancelled):
            prune()
    assert Run.objects.count() == 3
    assert prune() == {"runs of probe": 2}


def interrupt(seconds: float) -> None:
    raise JobCancelled(Why.of(Reason.USER, user="ann"), run_id=uuid.uuid4())


def test_jobs_are_found_one_by_one_in_order(settings: Settings) -> None:
    override(settings, KEEP_DAYS=None)
    for job in ("b", "a", "c", "a"):
        ended(1, job=job)
    assert list(pruning.each_job()) == ["a", "b", "c"]
