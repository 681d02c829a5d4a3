"""``prune_runs`` is a job, with a schedule in every project."""

import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.models import Run, RunOutput, Status, Stream, Trigger
from jobledger.schedules.declared.sync import sync
from tests.unit.builders import output_of, override

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def limits(settings: Settings) -> None:
    override(settings, KEEP_DAYS=30, KEEP_RUNS=1)


def make_runs(*days_ago: int) -> None:
    for days in days_ago:
        time = timezone.now() - timedelta(days=days)
        run = Run.objects.create(
            job="probe",
            trigger=Trigger.SCHEDULE,
            status=Status.SUCCEEDED,
            queued_at=time,
            finished_at=time,
        )
        RunOutput.objects.create(run=run, number=0, stream=Stream.STDOUT, text="x" * 1000)


def test_it_is_a_job_of_the_service() -> None:
    job = registry.all_jobs()["prune_runs"]
    assert job.task_name == "jobledger.prune_runs"


def test_it_has_a_schedule_that_is_created_like_others() -> None:
    assert "prune_runs" in {outcome.name for outcome in sync()}
    assert PeriodicTask.objects.get(name="prune_runs").enabled


def test_it_prints_what_it_has_deleted() -> None:
    make_runs(90, 80, 1)
    assert output_of("prune_runs").splitlines() == ["2 runs of probe deleted", "With 2 KB of output"]
    assert Run.objects.filter(job="probe").count() == 1


def test_the_longest_transaction_is_known_on_request() -> None:
    make_runs(90, 1)
    assert re.search(r"^The longest transaction took \d+ ms$", output_of("prune_runs", "-v2"), re.MULTILINE)


def test_a_dry_run_prints_what_would_be_deleted() -> None:
    make_runs(90, 80, 1)
    printed = output_of("prune_runs", "--dry-run").splitlines()
    assert printed == ["2 runs of probe would be deleted", "With 2 KB of output"]
    assert Run.objects.filter(job="probe").count() == 3


def test_it_says_if_nothing_is_old_enough() -> None:
    make_runs(1)
    assert output_of("prune_runs") == "Nothing is old enough to be deleted.\n"


@pytest.mark.parametrize("minutes", ["0", "-1", "1.5", "9999", "x"])
def test_the_time_limit_is_a_reasonable_number_of_minutes(minutes: str) -> None:
    with pytest.raises(CommandError, match="number of minutes from 1 to 1440"):
        call_command("prune_runs", f"--max-minutes={minutes}")


def test_it_says_if_it_has_stopped_early(monkeypatch: pytest.MonkeyPatch) -> None:
    make_runs(90, 1)
    monkeypatch.setattr("jobledger.management.commands.prune_runs.timedelta", lambda minutes: timedelta(0))
    assert "Stopped after 5 min." in output_of("prune_runs", "--max-minutes=5")
