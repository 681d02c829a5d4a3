"""Four ways to start a job, one ledger: a schedule, the admin, ``manage.py`` and ``celery call``."""

import json
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.service import Service, service
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database

EVERY_SECOND = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every = IntervalSchedule.objects.create(every=1, period="seconds")
PeriodicTask.objects.create(name={name!r}, task={task!r}, interval=every, kwargs={kwargs!r}, args={args!r})
"""


def schedule_every_second(
    running: Service, name: str, task: str, *, kwargs: str = "{}", args: str = "[]"
) -> None:
    running.shell(EVERY_SECOND.format(name=name, task=task, kwargs=kwargs, args=args))


def run_of(running: Service, schedule: str, status: str = "succeeded") -> dict[str, Any] | None:
    runs = running.runs("--status", status, "--limit", "1000")
    return next((run for run in runs if run["schedule"] == schedule), None)


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as started:
        started.start_worker()
        yield started


def test_a_schedule_fires_and_its_run_succeeds(running: Service) -> None:
    schedule_every_second(running, "every second", "probes.probe", kwargs='{"words": ["tick"]}')
    running.start_beat()
    run = wait_until(lambda: run_of(running, "every second"), what="a run of the schedule")
    running.stop("beat")
    assert (run["trigger"], run["schedule"], run["options"]) == (
        "schedule",
        "every second",
        {"words": ["tick"]},
    )
    assert run["exit_code"] == 0
    assert run["scheduled_for"] <= run["queued_at"] <= run["started_at"] < run["finished_at"]


def test_an_ordinary_celery_task_can_be_scheduled_as_well(running: Service) -> None:
    schedule_every_second(running, "sum", "tests.probes.tasks.add", args="[2, 3]")
    running.start_beat()
    run = wait_until(lambda: run_of(running, "sum", "sent"), what="the run on record")
    wait_until(
        lambda: f"tests.probes.tasks.add[{run['id']}] succeeded" in running.log("worker"),
        what="the task is executed",
    )
    running.stop("beat")


def test_beat_shows_that_it_ticks(running: Service) -> None:
    sign = running.folder / "beat"
    sign.unlink(missing_ok=True)
    running.start_beat()
    wait_until(sign.exists, what="beat's sign of life")
    running.stop("beat")


def test_a_worker_shows_that_it_lives(running: Service) -> None:
    wait_until((running.folder / "worker").exists, what="the worker's sign of life")


def test_a_run_by_hand_prints_exits_and_is_recorded(running: Service) -> None:
    done = running.manage("probe", "by hand", "--fail", "too bad", "--returncode", "4")
    assert (done.stdout, done.stderr, done.returncode) == ("by hand\n", "CommandError: too bad\n", 4)
    (run,) = running.runs("--limit", "1")
    assert (run["trigger"], run["status"], run["exit_code"], run["error"]) == ("cli", "failed", 4, "too bad")


def test_a_bad_option_by_hand_is_argparses_own_affair(running: Service) -> None:
    before = len(running.runs("--limit", "1000"))
    done = running.manage("probe", "--level", "9")
    assert done.returncode == 2
    assert "argument --level: invalid choice: 9" in done.stderr
    assert len(running.runs("--limit", "1000")) == before


def test_without_a_database_a_run_by_hand_says_so_and_runs(running: Service) -> None:
    nowhere = Service(folder=running.folder, database_url="sqlite:////nonexistent/db.sqlite3")
    done = nowhere.manage("probe", "still working")
    assert (done.stdout, done.returncode) == ("still working\n", 0)
    assert "This run is not recorded: unable to open database file" in done.stderr


def test_an_unmigrated_database_is_said_and_the_job_runs(running: Service) -> None:
    unmigrated = Service(folder=running.folder, database_url=f"sqlite:///{running.folder}/empty.sqlite3")
    done = unmigrated.manage("probe", "still working")
    assert (done.stdout.endswith("still working\n"), done.returncode) == (True, 0)
    assert "This run is not recorded: no such table: jobledger_" in done.stderr


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


def test_a_bad_option_fails_the_called_run_with_the_parsers_message(running: Service) -> None:
    task_id = running.celery("call", "probes.probe", "--kwargs", '{"level": 9}').stdout.strip()
    run = running.wait_for_run("--status", "failed", "--job", "probe", "--limit", "1")
    assert run["id"] == task_id
    assert "argument --level: invalid choice: 9" in run["error"]
    assert "invalid choice" in running.celery("result", task_id).stderr


def test_positional_arguments_fail_the_called_run_and_say_what_to_do(running: Service) -> None:
    task_id = running.celery("call", "probes.probe", "--args", '["a"]').stdout.strip()
    wait_until(lambda: running.runs("--limit", "1")[0]["id"] == task_id)
    run = wait_until(lambda: next(iter(running.runs("--status", "failed", "--limit", "1")), None))
    assert "takes its options by name" in run["error"]


def test_a_message_delivered_twice_executes_once_and_keeps_its_result(running: Service) -> None:
    task_id = str(uuid.uuid4())
    send = f"current_app.send_task('probes.probe', kwargs={{'words': ['once']}}, task_id={task_id!r})"
    running.shell(f"from celery import current_app; {send}; {send}")
    wait_until(lambda: running.log("worker").count(f"probes.probe[{task_id}]") >= 4, what="two deliveries")
    assert [run["id"] for run in running.runs("--limit", "100")].count(task_id) == 1
    assert "'last_line': 'once'" in running.celery("result", task_id).stdout


def test_a_task_id_that_is_no_uuid_is_a_run_all_the_same(running: Service) -> None:
    running.shell(
        "from celery import current_app; current_app.send_task('probes.probe', task_id='my-own-id')"
    )
    result = running.celery("result", "my-own-id").stdout
    assert "'status': 'succeeded'" in result


def test_nothing_but_jobs_and_tasks_is_reachable_by_a_message(running: Service) -> None:
    running.celery("call", "probes.unexposed_probe")
    wait_until(lambda: "Received unregistered task" in running.log("worker"), what="the refusal")
    assert "nobody should see this" not in running.log("worker")


def test_a_stopped_worker_finishes_its_run_first(running: Service) -> None:
    running.start_worker("leaving")
    assert running.stop("leaving", signal.SIGTERM) == 0
