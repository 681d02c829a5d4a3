"""Nothing that a job leaves behind affects the next job."""

import decimal
import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection, transaction
from django.utils import timezone, translation

from jobledger.models import Run, Trigger
from jobledger.runs.execution.hygiene import (
    connections_in_transaction,
    release_connections,
    restored_process,
)
from jobledger.runs.processes import billiard_internals


def assert_next_run_is_saved_alone() -> None:
    """What the next run writes is committed, and nothing of what was left open."""
    assert not connection.in_atomic_block
    Run.objects.create(job="next", trigger=Trigger.CLI)
    connection.rollback()
    assert [run.job for run in Run.objects.all()] == ["next"]


def test_the_directory_and_djangos_time_zone_and_language_are_restored(tmp_path: Path) -> None:
    before = Path.cwd()
    with restored_process():
        os.chdir(tmp_path)
        timezone.activate(ZoneInfo("Asia/Kolkata"))
        translation.activate("de")
    assert Path.cwd() == before
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


CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "warnings": (lambda: warnings.simplefilter("ignore"), lambda: list(warnings.filters)),
    "decimals": (lambda: setattr(decimal.getcontext(), "prec", 3), lambda: decimal.getcontext().prec),
    "descriptor": (lambda: os.dup2(os.open(os.devnull, os.O_RDONLY), 0), lambda: os.fstat(0).st_ino),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_job_changes_in_its_process_is_restored(name: str) -> None:
    change, read = CHANGES[name]
    before = read()
    with restored_process():
        change()
        assert read() != before or name == "descriptor"
    assert read() == before


def test_a_closed_descriptor_is_opened_again() -> None:
    before = os.fstat(0)
    with restored_process():
        os.close(0)
    assert os.path.samestat(os.fstat(0), before)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change its user")
def test_the_directory_need_not_be_readable(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    before = tmp_path.stat().st_ino
    if (pid := os.fork()) == 0:
        code = 1
        try:
            os.chdir(tmp_path)
            os.setuid(65534)
            with restored_process():
                os.chdir("/")
            code = int(Path().stat().st_ino != before)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_jobs_seed_does_not_make_the_next_ones_numbers_predictable() -> None:
    found = set()
    for _ in range(2):
        with restored_process():
            random.seed(1)
        found.add(random.random())
    assert len(found) == 2


def test_a_process_whose_pipe_a_job_has_closed_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipes = iter([(1, 7), (1, 8)])
    monkeypatch.setattr(billiard_internals, "results_pipe", lambda: next(pipes))
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    with restored_process():
        pass
    assert exits == [billiard_internals.EX_RECYCLE]
