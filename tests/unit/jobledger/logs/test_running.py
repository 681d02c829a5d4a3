"""Whatever a job logs, from wherever in its process, names its run."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from jobledger.logs import RunFields, running
from jobledger.logs.running import LoggedRun, is_of_last_run, logging_as, run_of
from tests.unit.jobledger.logs.builders import RUN, record

OTHER = LoggedRun(job="other", run_id="0192f0c1-0000-7000-8000-000000000002", attempt=1)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_here", SimpleNamespace(last=None))


def seen() -> LoggedRun | None:
    return run_of(record("late"))


def by_thread() -> list[LoggedRun | None]:
    found: list[LoggedRun | None] = []
    thread = threading.Thread(target=lambda: found.append(seen()))
    thread.start()
    thread.join()
    return found


def test_a_thread_that_the_job_starts_logs_for_its_run_if_the_process_executes_nothing_else() -> None:
    with logging_as(RUN, is_process_wide=True):
        assert by_thread() == [RUN]
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(seen).result() is RUN
    assert by_thread() == [None]


def test_in_a_process_that_does_other_things_as_well_its_threads_are_nobodys() -> None:
    with logging_as(RUN, is_process_wide=False):
        assert by_thread() == [None]
        assert seen() is RUN
    assert seen() is None


def test_asyncio_tasks_and_what_they_run_in_threads_log_for_their_run() -> None:
    async def work() -> list[LoggedRun | None]:
        return [await asyncio.create_task(asyncio.sleep(0, seen())), await asyncio.to_thread(seen)]

    with logging_as(RUN, is_process_wide=False):
        assert asyncio.run(work()) == [RUN, RUN]


def test_a_job_that_another_one_calls_logs_for_its_own_run() -> None:
    with logging_as(RUN, is_process_wide=True):
        with logging_as(OTHER, is_process_wide=True):
            assert [seen(), *by_thread()] == [OTHER, OTHER]
        assert [seen(), *by_thread()] == [RUN, RUN]


def celerys(task_id: str = RUN.run_id, task: str = "probes.probe") -> logging.LogRecord:
    data = {"id": task_id, "name": task}
    return record("Task %(name)s[%(id)s] received", data, name="celery.worker.strategy", data=data)


def test_a_line_of_celery_about_a_message_names_the_run_that_was_noted() -> None:
    running.note(RUN)
    assert run_of(celerys()) is RUN
    assert is_of_last_run(celerys())
    assert not is_of_last_run(celerys(OTHER.run_id))


def test_such_a_line_comes_after_the_run_and_after_those_that_it_has_called() -> None:
    with logging_as(RUN, is_process_wide=True), logging_as(OTHER, is_process_wide=True):
        pass
    assert is_of_last_run(celerys())


def test_otherwise_it_names_the_job_and_the_run() -> None:
    assert run_of(celerys()) == LoggedRun(job="probe", run_id=RUN.run_id)


@pytest.mark.parametrize(("task_id", "task"), [("tidy-1", "probes.probe"), (RUN.run_id, "shop.tidy")])
def test_a_line_about_another_task_names_none(task_id: str, task: str) -> None:
    assert run_of(celerys(task_id, task)) is None


@pytest.mark.parametrize(("is_running", "expected"), [(True, ("nightly", 2)), (False, ("", ""))])
def test_the_filter_adds_the_run_for_formatters_of_other_kinds(
    is_running: bool, expected: tuple[Any, Any]
) -> None:
    made: Any = record("late")
    if is_running:
        with logging_as(RUN, is_process_wide=False):
            RunFields().filter(made)
    else:
        RunFields().filter(made)
    assert (made.job, made.attempt) == expected
    assert made.run_id == (RUN.run_id if is_running else "")
