"""Four ways to start a job, one ledger: a schedule, the admin, ``manage.py`` and ``celery call``."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.command_line import from_command_line
from tests.integration.ledger import (
    call,
    call_lasting,
    let_end,
    output_of,
    run_rows,
    wait_for_end,
    wait_for_start,
)
from tests.integration.service import Service
from tests.unit.builders import invalid_choice
from tests.waiting import DEADLINE_SECONDS, wait_until

EVERY_SECOND = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.create(name={name!r}, task={task!r}, interval=every, kwargs={kwargs!r}, args={args!r})
"""
NO_LONGER = "from django_celery_beat.models import PeriodicTask; PeriodicTask.objects.get(name={!r}).delete()"


@contextmanager
def every_second(
    running: Service, name: str, task: str, *, kwargs: str = "{}", args: str = "[]"
) -> Iterator[None]:
    """A schedule that exists inside the block."""
    running.shell(EVERY_SECOND.format(name=name, task=task, kwargs=kwargs, args=args))
    try:
        yield
    finally:
        running.shell(NO_LONGER.format(name))


def state_of(running: Service, pk: UUID) -> str:
    """The state of its result, as whoever has called it sees it."""
    return running.shell(
        f"from celery.result import AsyncResult; print(AsyncResult({str(pk)!r}).state)"
    ).strip()


def starts_nothing(running: Service, pk: UUID) -> bool:
    return f"A message of run {pk} of probe starts nothing" in running.log("worker")


def newest_run(running: Service) -> dict[str, Any]:
    return running.runs("--limit", "1")[0]


def run_of(running: Service, schedule: str, status: str) -> dict[str, Any] | None:
    runs = running.runs("--status", status, "--limit", "1000")
    return next((run for run in runs if run["schedule"] == schedule), None)


@pytest.mark.every_database
def test_a_schedule_fires_and_its_run_succeeds(running: Service) -> None:
    with every_second(running, "every second", "probes.probe", kwargs='{"words": ["tick"]}'):
        run = wait_until(lambda: run_of(running, "every second", "succeeded"), what="a run of the schedule")
    assert (run["trigger"], run["schedule"], run["options"]) == (
        "schedule",
        "every second",
        {"words": ["tick"]},
    )
    assert run["exit_code"] == 0
    assert run["scheduled_for"] <= run["queued_at"] <= run["started_at"] < run["finished_at"]


@pytest.mark.every_database
def test_an_ordinary_celery_task_can_be_scheduled_as_well(running: Service) -> None:
    with every_second(running, "sum", "tests.probes.tasks.add", args="[2, 3]"):
        run = wait_until(lambda: run_of(running, "sum", "succeeded"), what="the run of the task has ended")
    assert run["scheduled_for"] <= run["queued_at"] <= run["started_at"] < run["finished_at"]
    wait_until(
        lambda: f"tests.probes.tasks.add[{run['id']}] succeeded" in running.log("worker"),
        what="the task is executed",
    )


@pytest.mark.parametrize("process", ["beat", "worker"])
def test_a_process_reports_that_it_is_alive(running: Service, process: str) -> None:
    sign = running.folder / process
    sign.unlink(missing_ok=True)
    wait_until(sign.exists, what="the health file")


@pytest.mark.every_database
def test_a_run_from_the_command_line_prints_exits_and_is_recorded(running: Service) -> None:
    done = running.manage("probe", "by hand", "--fail", "too bad", "--returncode", "4")
    assert (done.stdout, done.stderr, done.returncode) == ("by hand\n", "CommandError: too bad\n", 4)
    run = newest_run(running)
    assert (run["trigger"], run["status"], run["exit_code"], run["error"]) == ("cli", "failed", 4, "too bad")


def test_a_plain_command_from_the_command_line_is_recorded_and_ends_by_the_same_signal(
    running: Service,
) -> None:
    with from_command_line(running, "plain_probe", "--last") as command:
        live = "job = 'plain_probe' AND status = 'running'"
        (row,) = wait_until(lambda: run_rows(running, live), what="it is running")
        wait_until(lambda: output_of(running, row.pk) == "plain\n", what="it has printed")
        command.send_signal(signal.SIGTERM)
        stdout, stderr = command.communicate(timeout=DEADLINE_SECONDS)
    assert (command.returncode, stdout, stderr) == (-signal.SIGTERM, "plain\n", "")
    run = newest_run(running)
    assert (run["trigger"], run["status"], run["exit_code"]) == ("cli", "failed", 143)


def test_an_invalid_option_on_the_command_line_is_left_to_argparse(running: Service) -> None:
    before = len(run_rows(running))
    done = running.manage("probe", "--level", "9")
    assert done.returncode == 2
    assert f"argument --level: {invalid_choice(9)}" in done.stderr
    assert len(run_rows(running)) == before


def test_without_a_database_a_run_from_the_command_line_warns_and_runs(tmp_path: Path) -> None:
    nowhere = Service(folder=tmp_path, database_url="sqlite:////nonexistent/db.sqlite3")
    done = nowhere.manage("probe", "still working")
    assert (done.stdout, done.returncode) == ("still working\n", 0)
    assert "This run is not recorded: unable to open database file" in done.stderr


def test_with_an_unmigrated_database_the_job_warns_and_runs(tmp_path: Path) -> None:
    unmigrated = Service(folder=tmp_path, database_url=f"sqlite:///{tmp_path}/empty.sqlite3")
    done = unmigrated.manage("probe", "still working")
    assert (done.stdout.endswith("still working\n"), done.returncode) == (True, 0)
    assert "This run is not recorded: no such table: jobledger_" in done.stderr


@pytest.mark.every_database
def test_celery_call_and_celery_result(running: Service) -> None:
    called = running.celery("call", "probes.probe", "--kwargs", '{"words": ["called", "twice"], "level": 2}')
    task_id = called.stdout.strip()
    result = running.celery("result", task_id)
    assert json.loads(result.stdout.replace("'", '"')) == {
        "run": task_id,
        "status": "succeeded",
        "last_line": "twice",
    }
    run = next(run for run in running.runs("--job", "probes.probe") if run["id"] == task_id)
    assert (run["trigger"], run["options"]) == ("celery", {"words": ["called", "twice"], "level": 2})


def test_an_invalid_option_fails_the_called_run_with_the_parsers_message(running: Service) -> None:
    run = wait_for_end(running, call(running, "probe", level=9))
    assert run.status == "failed"
    assert f"argument --level: {invalid_choice(9)}" in run.error
    assert "invalid choice" in running.celery("result", str(run.pk)).stderr


def test_positional_arguments_fail_the_called_run_with_a_hint(running: Service) -> None:
    task_id = running.celery("call", "probes.probe", "--args", '["a"]').stdout.strip()
    run = wait_for_end(running, UUID(task_id))
    assert run.status == "failed"
    assert "takes keyword arguments only" in run.error


@pytest.mark.every_database
def test_a_message_delivered_twice_executes_once_and_keeps_its_result(running: Service) -> None:
    pk = uuid4()
    for _ in range(2):
        call(running, "probe", task_id=pk, words=["once"])
    wait_until(lambda: starts_nothing(running, pk), what="the second delivery")
    assert wait_for_end(running, pk).status == "succeeded"
    assert [row.pk for row in run_rows(running)].count(pk) == 1
    assert output_of(running, pk) == "once\n"
    assert "'last_line': 'once'" in running.celery("result", str(pk)).stdout


@pytest.mark.parametrize("job", ["lasting", "isolated"])
def test_the_state_of_a_call_is_started_while_it_runs(running: Service, job: str) -> None:
    pk = call_lasting(running, job)
    wait_for_start(running, pk)
    wait_until(lambda: state_of(running, pk) == "STARTED", what="the state")
    with let_end(running, job):
        wait_until(lambda: state_of(running, pk) == "SUCCESS", what="the result")


def test_a_message_delivered_again_leaves_the_failure_of_its_run_as_the_result(running: Service) -> None:
    pk = call(running, "probe", fail="no luck")
    wait_until(lambda: state_of(running, pk) == "FAILURE", what="the result")
    call(running, "probe", task_id=pk, fail="no luck")
    wait_until(lambda: starts_nothing(running, pk), what="the second delivery")
    assert state_of(running, pk) == "FAILURE"


def test_a_task_id_that_is_not_a_uuid_has_a_run_too(running: Service) -> None:
    running.shell(
        "from celery import current_app; current_app.send_task('probes.probe', task_id='my-own-id')"
    )
    result = running.celery("result", "my-own-id").stdout
    assert "'status': 'succeeded'" in result


def test_nothing_but_jobs_and_tasks_is_reachable_by_a_message(running: Service) -> None:
    call(running, "unexposed_probe")
    wait_until(
        lambda: "this project has no task with its name" in running.log("worker"), what="the dead letter"
    )
    assert "nobody should see this" not in running.log("worker")


def test_a_stopped_worker_exits_cleanly(running: Service) -> None:
    running.start_worker("leaving")
    assert running.stop("leaving", signal.SIGTERM) == 0
