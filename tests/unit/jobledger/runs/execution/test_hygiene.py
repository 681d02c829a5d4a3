"""What a job leaves behind does not reach the next one."""

import locale
import os
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone, translation

from jobledger.models import Run, Trigger
from jobledger.runs.execution.hygiene import clean_process, close_what_was_left_open


def next_run_stands() -> None:
    """What the next one writes is there also after a rollback, and of what was left open nothing is."""
    assert not connection.in_atomic_block
    Run.objects.create(job="next", trigger=Trigger.CLI)
    connection.rollback()
    assert [run.job for run in Run.objects.all()] == ["next"]


def test_folder_zones_and_locale_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    before = Path.cwd(), locale.setlocale(locale.LC_ALL), time.tzname
    with clean_process():
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
def test_a_folder_that_is_deleted_is_no_obstacle(
    by_the_job: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = Path().stat().st_ino
    if not by_the_job:
        folder.rmdir()
    with clean_process():
        if by_the_job:
            folder.rmdir()
        os.chdir(tmp_path)
    assert Path().stat().st_ino == before
    os.chdir(tmp_path)


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_was_left_open_is_rolled_back_and_the_next_statement_stands() -> None:
    transaction.set_autocommit(False)
    Run.objects.create(job="left", trigger=Trigger.CLI)
    close_what_was_left_open()
    assert connection.get_autocommit()
    next_run_stands()


@pytest.mark.django_db(transaction=True)
def test_an_atomic_block_that_was_never_left_is_forgotten() -> None:
    transaction.atomic().__enter__()
    Run.objects.create(job="left", trigger=Trigger.CLI)
    close_what_was_left_open()
    next_run_stands()
