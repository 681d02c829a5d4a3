"""Somebody notices when old runs are no longer deleted."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from jobledger.health import pruning
from jobledger.models import Run, Status, Trigger
from jobledger.retention import ledger_size
from tests.unit.builders import override

pytestmark = pytest.mark.django_db


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def run(job: str, time: datetime, **values: Any) -> None:
    defaults = {"trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED, "finished_at": time}
    Run.objects.create(job=job, queued_at=time, **{**defaults, **values})


def texts(now: datetime) -> list[str]:
    return [problem.text for problem in pruning.problems(ledger_size.last_pruned(), now)]


def test_a_new_service_has_nothing_to_prune(now: datetime) -> None:
    assert texts(now) == []
    run("probe", now - timedelta(days=6))
    assert texts(now) == []


def test_it_should_have_been_pruned_within_a_week(now: datetime) -> None:
    run("probe", now - timedelta(days=8))
    assert texts(now) == ["Old runs were never deleted."]
    run("prune_runs", now - timedelta(days=1))
    assert texts(now) == []


def test_failed_runs_of_the_job_do_not_count(now: datetime) -> None:
    run("prune_runs", now - timedelta(days=12))
    run("prune_runs", now - timedelta(days=1), status=Status.FAILED)
    (problem,) = pruning.problems(ledger_size.last_pruned(), now)
    assert problem.text == "Old runs were last deleted 12 d ago."
    assert problem.short == "not pruned for 12 d"
    assert problem.is_mild


def test_keeping_everything_is_no_problem(now: datetime, settings: Settings) -> None:
    override(settings, KEEP_DAYS=None)
    run("probe", now - timedelta(days=800))
    assert texts(now) == []


def test_the_size_and_the_last_time_are_told(now: datetime) -> None:
    text = pruning.size(None, now)
    assert text.startswith("no runs, ")
    assert text.endswith(", never pruned")
    run("prune_runs", now - timedelta(hours=8))
    text = pruning.size(ledger_size.last_pruned(), now)
    assert text.startswith("1 run, ")
    assert text.endswith(", pruned 8 h ago")
