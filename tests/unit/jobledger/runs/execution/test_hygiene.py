"""Nothing that a job leaves behind affects the next job."""

import locale
import os
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone, translation

from jobledger.models import Run, Trigger
from jobledger.runs.execution.hygiene import connections_in_transaction, release_connections, restored_process


def assert_next_run_is_saved_alone() -> None:
    """What the next run writes is committed, and nothing of what was left open."""
    assert not connection.in_atomic_block
    Run.objects.create(job="next", trigger=Trigger.CLI)
    connection.rollback()
    assert [run.job for run in Run.objects.all()] == ["next"]


def test_directory_time_zones_and_locale_are_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    before = Path.cwd(), locale.setlocale(locale.LC_ALL), time.tzname
    with restored_process():
        os.chdir(tmp_path)
        os.environ["TZ"] = "Asia/Kolkata"
        time.tzset()
        locale.setlocale(locale.LC_ALL, "C")
        timezone.activate(ZoneInfo("Asia/Kolkata"))
        translation.activate("de")
    assert (Path.cwd(), locale.setlocale(locale.LC_ALL), time.tzname) == before
    assert os.environ["TZ"] == "UTC"
    assert timezone.get_current_timezone_name() == "UTC"
    assert translation.get_language() == "en-us"


@pytest.mark.parametrize("by_the_job", [True, False])
def test_the_directory_may_be_deleted_before_or_by_the_job(
    by_the_job: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    before = Path().stat().st_ino
    if not by_the_job:
        directory.rmdir()
    with restored_process():
        if by_the_job:
            directory.rmdir()
        os.chdir(tmp_path)
    assert Path().stat().st_ino == before
    os.chdir(tmp_path)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_left_open_is_rolled_back_and_the_next_statement_is_committed() -> None:
    transaction.set_autocommit(False)
    Run.objects.create(job="left", trigger=Trigger.CLI)
    release_connections(of_caller=frozenset(), close=False)
    assert connection.get_autocommit()
    assert_next_run_is_saved_alone()


@pytest.mark.django_db(transaction=True)
def test_an_atomic_block_that_was_never_exited_is_rolled_back() -> None:
    transaction.atomic().__enter__()
    Run.objects.create(job="left", trigger=Trigger.CLI)
    release_connections(of_caller=frozenset(), close=False)
    assert_next_run_is_saved_alone()


@pytest.mark.django_db(transaction=True)
def test_the_transaction_of_a_jobs_caller_continues() -> None:
    with transaction.atomic():
        Run.objects.create(job="caller", trigger=Trigger.CLI)
        release_connections(of_caller=connections_in_transaction(), close=True)
        assert connection.in_atomic_block
    assert Run.objects.get().job == "caller"
