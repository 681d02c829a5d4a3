"""The log has one line for the start of an attempt, and one for its end: how, after how long, and why."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobledger.formats import exact
from jobledger.logs import formatter, service
from jobledger.logs.running import ATTRIBUTE
from jobledger.models import Reason, Run, Status, Trigger, Why
from jobledger.runs import run_lines
from jobledger.runs.execution import runner
from jobledger.runs.lease import rescue
from tests.probes.management.commands.probe import Command

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_given", "worker")


@pytest.fixture
def as_json() -> Iterator[None]:
    handler = logging.NullHandler()
    handler.setFormatter(formatter("json"))
    logging.root.addHandler(handler)
    yield
    logging.root.removeHandler(handler)


def queued(job: str = "probe", **options: Any) -> Run:
    return Run.objects.create(
        job=job, options=options, trigger=Trigger.SCHEDULE, schedule_name="every night", status=Status.QUEUED
    )


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[Any]:
    return [each for each in caplog.records if each.name == run_lines.__name__ and each.levelno >= level]


def test_a_run_that_succeeds_has_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    run = queued()
    runner.execute(run.pk, worker="w")
    started, ended = lines(caplog)
    assert started.getMessage() == f"Run {run.pk} of probe started"
    assert ended.getMessage().startswith(f"Run {run.pk} of probe ended as succeeded after 0.")
    assert (ended.status, ended.exit_code, ended.levelname) == ("succeeded", 0, "INFO")
    assert ended.duration_seconds >= 0
    assert not hasattr(ended, "reason")
    for line in started, ended:
        named = getattr(line, ATTRIBUTE).fields
        assert named == {
            "job": "probe",
            "run_id": str(run.pk),
            "attempt": 1,
            "schedule": "every night",
            "trigger": "schedule",
        }


def test_the_end_of_a_failure_says_why_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    runner.execute(queued("choosing", api_key="hunter2").pk, worker="w")
    *_, ended = lines(caplog)
    assert ended.getMessage().endswith(", exit code 1: The key '********' was refused.")
    assert (ended.levelname, ended.status, ended.exit_code) == ("WARNING", "failed", 1)
    assert ended.reason in set(Reason)


def test_an_attempt_that_is_followed_by_another_says_when(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise ConnectionError("not now")

    monkeypatch.setattr(Command, "handle", fail)
    monkeypatch.setattr(Command, "max_retries", 1)
    run = queued()
    for attempt in (1, 2):
        Run.objects.update(start_after=None)
        runner.execute(run.pk, worker="w")
        *_, ended = lines(caplog)
        assert getattr(ended, ATTRIBUTE).attempt == attempt
        assert hasattr(ended, "retried_at") == (attempt == 1)
        again = f"; attempt 2 starts at {exact(ended.retried_at)}" if attempt == 1 else ""
        assert ended.getMessage().endswith(f", exit code 1: ConnectionError: not now{again}")
    assert len(lines(caplog, logging.WARNING)) == 2


def test_a_lost_run_has_one_line_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    run = queued()
    Run.objects.update(status=Status.RUNNING, started_at=timezone.now() - timedelta(minutes=1))
    run.refresh_from_db()
    assert rescue.give_up(run, Why.of(Reason.LOST_PROCESS, worker="w"), exit_signal="SIGKILL")
    (line,) = caplog.records
    assert "ended as lost after 60." in line.getMessage()
    assert (line.levelname, line.__dict__["reason"], line.__dict__["exit_signal"]) == (
        "ERROR",
        "lost_process",
        "SIGKILL",
    )


@pytest.mark.parametrize("job", ["probe", "restarting"])
def test_the_end_of_a_lost_attempt_is_that_on_record(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    run = queued(job)
    by_database = timezone.now() + timedelta(hours=1)
    Run.objects.update(status=Status.RUNNING, started_at=by_database - timedelta(seconds=90))
    run.refresh_from_db()
    # Its clock, by which the run has started, is another one than this process's.
    monkeypatch.setattr("jobledger.clock.now", lambda: by_database)
    assert rescue.give_up(run, Why.of(Reason.LOST_PROCESS, worker="w"))
    (line,) = lines(caplog)
    run.refresh_from_db()
    assert line.duration_seconds == 90
    assert (run.attempts.get().finished_at if job == "restarting" else run.finished_at) == by_database


def test_an_end_that_another_process_has_recorded_is_not_logged_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = queued()
    assert not rescue.give_up(run, Why.of(Reason.LOST_PROCESS, worker="w"))
    assert lines(caplog) == []


def test_on_the_command_line_text_has_no_line_more(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_given", "command")
    caplog.set_level(logging.DEBUG, logger="jobledger")
    Command().run_from_argv(["manage.py", "probe"])
    assert lines(caplog) == []
    assert len(lines(caplog, logging.DEBUG)) == 2


@pytest.mark.usefixtures("as_json")
def test_on_the_command_line_json_has_both(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_given", "command")
    caplog.set_level(logging.INFO)
    Command().run_from_argv(["manage.py", "probe"])
    assert [getattr(line, ATTRIBUTE).trigger for line in lines(caplog)] == ["cli", "cli"]
