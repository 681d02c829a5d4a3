"""What a job's message leads to: it executes its run, and one without a run gets one."""

import os
import re
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery import current_app
from celery.backends.redis import RedisBackend
from celery.exceptions import Ignore, Reject
from django.db import DataError, InternalError, OperationalError, ProgrammingError, connections
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger import clock
from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency
from jobledger.models import Reason, Run, SchedulePolicy, Status, Trigger, Why
from jobledger.runs import dispatch
from jobledger.runs.execution import runner
from jobledger.runs.ledger_connection import kept_open, ledger_connection
from jobledger.runs.processes import billiard_internals
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.results import JobFailedError
from jobledger.runs.worker import job_task
from tests.unit.builders import override
from tests.unit.conftest import DATABASE_CLOCK, DATABASE_CLOCK_IN_STATEMENT

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_result_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for a Redis that is not there."""
    monkeypatch.setattr(RedisBackend, "store_result", lambda *args, **options: None)


def deliver(task_id: str, *args: Any, headers: dict[str, Any] | None = None, **options: Any) -> Any:
    """Execute the task in this process, as a worker would for a message."""
    current_app.loader.import_default_modules()
    task = current_app.tasks["probes.probe"]
    task.push_request(id=task_id, hostname="celery@here", headers=headers or {}, args=args, kwargs=options)
    try:
        return task.run(*args, **options)
    finally:
        task.pop_request()


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def test_the_result_is_small_and_says_what_happened() -> None:
    task_id = str(uuid.uuid4())
    assert deliver(task_id, words=["a", "b"]) == {"run": task_id, "status": "succeeded", "last_line": "b"}


def test_an_ad_hoc_call_is_recorded_as_one() -> None:
    deliver(str(uuid.uuid4()), level=2)
    run = Run.objects.get()
    assert (run.job, run.trigger, run.options) == ("probe", "celery", {"level": 2})
    assert run.worker == f"celery@here:{os.getpid()}"


def test_a_failed_run_fails_the_task_with_its_error() -> None:
    with pytest.raises(JobFailedError, match="no luck"):
        deliver(str(uuid.uuid4()), fail="no luck")


def test_a_redelivery_changes_nothing() -> None:
    task_id = str(uuid.uuid4())
    deliver(task_id, words=["once"])
    with pytest.raises(Ignore):
        deliver(task_id, words=["once"])
    assert Run.objects.get().status == "succeeded"


def test_only_the_message_that_starts_the_run_says_that_it_has_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored: list[str] = []

    def store_result(self: object, task_id: str, result: object, state: str, **options: Any) -> None:
        stored.append(state)

    monkeypatch.setattr(RedisBackend, "store_result", store_result)
    task_id = str(uuid.uuid4())
    deliver(task_id)
    with pytest.raises(Ignore):
        deliver(task_id)
    assert stored == ["STARTED"]


def test_a_job_runs_even_if_its_start_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unavailable(*args: Any, **options: Any) -> None:
        raise ConnectionError("no Redis")

    monkeypatch.setattr(RedisBackend, "store_result", unavailable)
    task_id = str(uuid.uuid4())
    assert deliver(task_id)["status"] == "succeeded"
    assert f"Could not store that run {task_id} has started: no Redis" in caplog.text


def caused_by(error: Exception, sqlstate: str) -> Exception:
    """A PostgreSQL error, as raised by Django."""
    error.__cause__ = Exception()
    error.__cause__.sqlstate = sqlstate  # type: ignore[attr-defined]
    return error


OUTAGES = [
    OperationalError("connection refused"),
    caused_by(InternalError("cannot execute UPDATE in a read-only transaction"), "25006"),
    caused_by(ProgrammingError("column jobledger_run.start_after does not exist"), "42703"),
]


@pytest.mark.parametrize("error", OUTAGES)
@pytest.mark.parametrize("step", ["receive", "execute"])
def test_a_message_is_requeued_during_a_database_outage(
    step: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = str(uuid.uuid4())

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise error

    with monkeypatch.context() as away:
        away.setattr(job_task, "DATABASE_RETRY_SECONDS", 0)
        away.setattr(dispatch if step == "receive" else runner, step, refuse)
        with pytest.raises(Reject) as rejected:
            deliver(task_id, words=["at last"])
    assert rejected.value.requeue  # type: ignore[attr-defined]  # celery-types does not know it
    assert deliver(task_id, words=["at last"])["last_line"] == "at last"
    assert Run.objects.get().status == "succeeded"


def test_a_message_whose_values_the_database_rejects_is_not_requeued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise caused_by(DataError("value too long for type character varying(200)"), "22001")

    monkeypatch.setattr(dispatch, "receive", refuse)
    with pytest.raises(DataError):
        deliver(str(uuid.uuid4()))


def test_positional_arguments_fail_the_run_with_a_hint() -> None:
    with pytest.raises(JobFailedError, match="keyword arguments only, but got 1 positional"):
        deliver(str(uuid.uuid4()), 5)
    assert Run.objects.get().exit_code == 2


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_non_finite_number_fails_the_run_with_a_hint(number: float) -> None:
    with pytest.raises(JobFailedError, match="NaN and infinity are not valid JSON"):
        deliver(str(uuid.uuid4()), level=number)
    assert Run.objects.get().exit_code == 2


def test_a_message_of_django_celery_beats_scheduler_names_its_schedule() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name="daily", task="probes.probe", interval=every, queue="slow")
    deliver(str(uuid.uuid4()), headers={"periodic_task_name": "daily"})
    run = Run.objects.get()
    assert (run.trigger, run.schedule, run.schedule_name) == ("schedule", schedule, "daily")
    assert run.routing == {"queue": "slow"}


def test_the_message_of_a_run_that_was_deleted_starts_nothing() -> None:
    with pytest.raises(Ignore):
        deliver(str(uuid.uuid4()), headers={"jobledger_run": True, "periodic_task_name": "daily"})
    assert not Run.objects.exists()


def test_the_message_of_a_run_that_has_given_way_to_a_newer_one_starts_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run.objects.create(
        job="probe", trigger=Trigger.SCHEDULE, status=Status.MISSED, **Why.of(Reason.SUPERSEDED).columns
    )
    before = Run.objects.values().get()
    with pytest.raises(Ignore):
        deliver(str(run.pk), headers={"jobledger_run": True})
    assert Run.objects.values().get() == before
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_an_option_may_have_any_name() -> None:
    with pytest.raises(JobFailedError, match="self"):
        deliver(str(uuid.uuid4()), self=1, task=2)


# What anybody may have written into a message.


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("x" * 300, "x" * 200),
        ("a\0b", "a␀b"),
        ("a\ud800b", "a\\ud800b"),
        (["x"], "['x']"),
        ({"a": 1}, "{'a': 1}"),
        (5, "5"),
    ],
    ids=["long", "NUL", "lone surrogate", "a list", "an object", "a number"],
)
def test_arbitrary_headers_do_not_affect_the_run(name: Any, kept: str) -> None:
    deliver(str(uuid.uuid4()), headers={"periodic_task_name": name})
    run = Run.objects.get()
    assert (run.status, run.trigger, run.schedule_name) == ("succeeded", "schedule", kept)


@pytest.mark.parametrize("headers", [["x"], "x", {"periodic_task_name": None}, {"tenant": "a\0"}], ids=repr)
def test_headers_without_a_schedule_make_it_an_ad_hoc_call(headers: Any) -> None:
    deliver(str(uuid.uuid4()), headers=headers)
    assert Run.objects.get().trigger == "celery"


def test_a_task_id_with_half_a_character_has_a_run_too() -> None:
    deliver("a\ud800")
    assert Run.objects.get().status == "succeeded"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"words": ["x" * 70_000]},
            "the options: 70,015 bytes as JSON are more than the 65,536 allowed",
        ),
        ({"words": nested(60)}, "the options: it is nested more than 50 levels deep"),
    ],
    ids=["large", "deep"],
)
def test_options_that_are_too_large_fail_the_run_and_are_not_stored(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(JobFailedError, match=re.escape(said)):
        deliver(str(uuid.uuid4()), **options)
    run = Run.objects.get()
    assert (run.status, run.reason, run.options) == ("failed", "bad_options", {})


def test_the_limit_is_a_setting(settings: Any) -> None:
    override(settings, RUN_OPTIONS_LIMIT_BYTES=20)
    with pytest.raises(JobFailedError, match="more than the 20 allowed"):
        deliver(str(uuid.uuid4()), words=["a", "b", "c"])


# What a run costs: a statement is a round trip to the server.


class Statements:
    """What a worker sends to the database."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def of(self, task_id: str, **message: Any) -> list[str]:
        """The first words of what the delivery of a message sends."""
        self._log.clear()
        deliver(task_id, **message)
        return [str(entry["sql"]).split()[0] for entry in self._log]

    def of_a_run(self, **values: Any) -> list[str]:
        """Of the message of a queued run."""
        run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, **values)
        return self.of(str(run.pk), headers={RUN_HEADER: True}, **run.options)


@pytest.fixture
def statements(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Statements]:
    monkeypatch.setattr(clock, "now", DATABASE_CLOCK)
    monkeypatch.setattr(clock, "in_statement", DATABASE_CLOCK_IN_STATEMENT)
    with kept_open():
        with ledger_connection():
            log = connections["default"]
        log.force_debug_cursor = True
        yield Statements(log.queries_log)
        log.force_debug_cursor = False


CLAIM, OUTPUT, END, WAKE = "UPDATE", "INSERT", "UPDATE", "SELECT"


def test_a_run_is_claimed_and_ended_by_a_statement_each_and_one_asks_who_waits(
    statements: Statements,
) -> None:
    assert statements.of_a_run() == [CLAIM, END, WAKE]


def test_a_schedules_policy_is_read_by_the_claim(statements: Statements) -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name="daily", task="probes.probe", interval=every)
    SchedulePolicy.objects.filter(schedule=schedule).update(concurrency=Concurrency.ALLOW)
    # Nobody waits for a run that may overlap.
    assert statements.of_a_run(schedule=schedule) == [CLAIM, END]


def test_a_small_output_is_saved_by_one_statement_without_a_transaction(statements: Statements) -> None:
    assert statements.of_a_run(options={"words": ["a", "b"]}) == [CLAIM, OUTPUT, END, WAKE]


def test_a_call_is_looked_for_and_inserted_first(statements: Statements) -> None:
    assert statements.of(str(uuid.uuid4())) == ["SELECT", "INSERT", CLAIM, END, WAKE]


@pytest.mark.parametrize("error", [RuntimeError, DataError, Ignore])
def test_a_child_that_cannot_record_is_replaced_instead_of_dropping_further_messages(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error("on purpose")

    replaced: list[bool] = []
    monkeypatch.setattr(billiard_internals, "exit_after_this_task", lambda: replaced.append(True))
    monkeypatch.setattr(runner, "execute", fail)
    with pytest.raises(error):
        deliver(str(uuid.uuid4()))
    assert replaced == ([] if error is Ignore else [True])


@pytest.fixture
def urls(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of URLs that nothing has imported."""
    name = f"urls_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text("urlpatterns = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.ROOT_URLCONF = name
    return name


@pytest.mark.parametrize(
    ("isolated", "limit", "given", "is_loaded"),
    [(False, None, None, False), (True, None, None, True), (False, 5, None, True), (False, None, 5, True)],
)
def test_the_urls_are_loaded_before_children_are_forked_if_many_processes_would_load_them(
    isolated: bool,
    limit: int | None,
    given: int | None,
    is_loaded: bool,
    urls: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = registry.all_jobs()
    monkeypatch.setattr(registry, "all_jobs", lambda: {"probe": jobs["probe"]})
    monkeypatch.setattr(jobs["probe"].declaration, "isolate", isolated)
    conf = SimpleNamespace(worker_max_tasks_per_child=limit)
    job_task.load_urls(conf, {"max_tasks_per_child": given})
    assert (urls in sys.modules) == is_loaded


def test_a_worker_starts_even_if_the_urls_cannot_be_loaded(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ROOT_URLCONF = "not.there"
    job_task.load_urls(SimpleNamespace(worker_max_tasks_per_child=1), {})
    assert "URLs could not be loaded: ModuleNotFoundError: No module named 'not'" in caplog.text
