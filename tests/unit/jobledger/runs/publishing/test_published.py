"""What was published is noted, many at once, and what is not noted is not forgotten."""

from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from jobledger.models import Run, Status, Trigger
from jobledger.runs.publishing import published
from jobledger.runs.publishing.published import Published, publish_interval

pytestmark = pytest.mark.django_db


def queued(**values: int) -> Run:
    return Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, publish_after=timezone.now(), **values)


def test_runs_that_were_published_a_different_number_of_times_are_noted_together() -> None:
    runs = [queued(), queued(publish_count=2), queued()]
    noted = Published()
    for run in runs:
        noted.add([run])
    noted.write()
    before = timezone.now()
    for run, count in zip(runs, (1, 3, 1), strict=True):
        run.refresh_from_db()
        assert run.publish_count == count
        assert run.publish_after is not None
        assert timedelta(0) <= before + publish_interval(count) - run.publish_after < timedelta(seconds=30)


def test_what_was_claimed_meanwhile_needs_no_note() -> None:
    run = queued()
    noted = Published()
    noted.add([run])
    Run.objects.update(status=Status.RUNNING, publish_after=None)
    noted.write()
    run.refresh_from_db()
    assert (run.publish_count, run.publish_after) == (0, None)


def test_what_waits_for_its_turn_meanwhile_has_its_own_time() -> None:
    run, soon = queued(), timezone.now()
    noted = Published()
    noted.add([run])
    Run.objects.update(concurrency_key="probe", publish_after=soon)
    noted.write()
    run.refresh_from_db()
    assert (run.publish_count, run.publish_after) == (0, soon)


def test_however_many_they_are_all_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "AT_ONCE", 2)
    noted = Published()
    noted.add([queued() for _ in range(5)])
    noted.write()
    assert Run.objects.filter(publish_count=1).count() == 5


def test_what_the_database_refuses_is_noted_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    run = queued()
    noted = Published()
    noted.add([run])
    with monkeypatch.context() as patch:
        patch.setattr(published, "_note", _refuse)
        with pytest.raises(OperationalError):
            noted.write()
    noted.write()
    run.refresh_from_db()
    assert run.publish_count == 1


def test_nothing_is_noted_twice() -> None:
    run = queued()
    noted = Published()
    noted.add([run])
    noted.write()
    Run.objects.update(publish_count=7)
    noted.write()
    run.refresh_from_db()
    assert run.publish_count == 7


@pytest.mark.parametrize(("longest_wait_seconds", "most"), [(3600, 2), (0, 100)], ids=["much", "long ago"])
def test_it_presses_when_much_or_long_ago_was_published(
    monkeypatch: pytest.MonkeyPatch, longest_wait_seconds: int, most: int
) -> None:
    runs = [queued(), queued()]
    noted = Published()
    noted.add(runs)
    pressed = [noted.is_pressing]
    monkeypatch.setattr(published, "MOST", most)
    monkeypatch.setattr(published, "LONGEST_WAIT_SECONDS", longest_wait_seconds)
    pressed.append(noted.is_pressing)
    noted.write()
    pressed.append(noted.is_pressing)
    assert pressed == [False, True, False]


def _refuse(*values: object) -> None:
    raise OperationalError("database is locked")
